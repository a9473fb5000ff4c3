-- write_batch.postgres.sql : write what the rules decided for a batch, in one statement.
-- in   : JSON arrays of objects: $1 balances, $2 holds, $3 windows, $4 entries; uuid[]: $5 ended, $6 expired
-- out  : nothing
-- locks: none beyond the account rows that the batch holds already; every row below belongs to one of them.
WITH balance AS (
    UPDATE ledger_balance b
    SET
        balance_micro = new.balance_micro, held_micro = new.held_micro, seq = new.seq, owed_micro = new.owed_micro,
        moved_at = new.moved_at
    FROM json_to_recordset($1::json) AS new (
        account_id uuid, balance_micro bigint, held_micro bigint, seq bigint, owed_micro bigint, moved_at timestamptz
    )
    WHERE b.account_id = new.account_id
), hold AS (
    INSERT INTO ledger_hold (
        request_id, account_id, key_id, model_id, process_id, state, amount_micro, windows, created_at
    )
    SELECT request_id, account_id, key_id, model_id, process_id, 'open', amount_micro, windows, now()
    FROM json_to_recordset($2::json) AS new (
        request_id uuid, account_id uuid, key_id uuid, model_id text, process_id uuid, amount_micro bigint,
        windows jsonb
    )
), ended AS (
    DELETE FROM ledger_hold WHERE request_id = ANY($5::uuid[])
), expired AS (
    UPDATE ledger_hold SET state = 'expired', expired_at = now() WHERE request_id = ANY($6::uuid[])
), budget AS (
    INSERT INTO ledger_budgetwindow AS w (id, account_id, scope, period, starts_at, spent_micro, held_micro)
    SELECT id, account_id, scope, period, starts_at, spent_micro, held_micro
    FROM json_to_recordset($3::json) AS new (
        id uuid, account_id uuid, scope text, period text, starts_at timestamptz, spent_micro bigint,
        held_micro bigint
    )
    ON CONFLICT (account_id, scope, period, starts_at)
    DO UPDATE SET spent_micro = excluded.spent_micro, held_micro = excluded.held_micro
)
INSERT INTO ledger_entry (
    id, account_id, seq, operation_id, kind, debit, credit, amount_micro, granted_micro, balance_before_micro,
    balance_after_micro, reference, reason, actor, subject_id, created_at
)
SELECT
    id, account_id, seq, operation_id, kind, debit, credit, amount_micro, granted_micro, balance_before_micro,
    balance_after_micro, reference, reason, actor, subject_id, created_at
FROM json_to_recordset($4::json) AS new (
    id uuid, account_id uuid, seq bigint, operation_id uuid, kind text, debit text, credit text,
    amount_micro bigint, granted_micro bigint, balance_before_micro bigint, balance_after_micro bigint, reference text,
    reason text, actor text, subject_id uuid, created_at timestamptz
)
