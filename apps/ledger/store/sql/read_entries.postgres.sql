-- read_entries.postgres.sql : entries of operations that may be repeats, under their accounts' locks.
-- in   : $1 accounts uuid[], $2 operations uuid[], in pairs
-- out  : [[operation_id, kind, id, amount, balance before, after, granted], …], null where there are none
SELECT json_agg(
    json_build_array(
        e.operation_id, e.kind, e.id, e.amount_micro, e.balance_before_micro, e.balance_after_micro,
        e.granted_micro
    )
)
FROM unnest($1::uuid[], $2::uuid[]) AS wanted (account_id, operation_id)
JOIN ledger_entry e ON e.account_id = wanted.account_id AND e.operation_id = wanted.operation_id
