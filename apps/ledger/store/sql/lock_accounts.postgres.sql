-- lock_accounts.postgres.sql : take the accounts of a batch, alone in its statement.
-- in   : $1 accounts, a uuid[]      out: {"now", "balances": [[account_id, balance, held, seq, owed, moved_at], …]}
-- locks: account rows ordered by id, so that two batches never wait on each other. What another process wrote while
--        this statement waited is seen by the next one. It waits as long as the session's lock_timeout for each row;
--        once it has them all, the transaction's other statements wait without that limit.
SELECT json_build_object(
    'now', now(),
    'balances', coalesce(json_agg(json_build_array(account_id, balance_micro, held_micro, seq, owed_micro, moved_at)), '[]'),
    'limit', set_config('lock_timeout', '0', true)
)
FROM (
    SELECT account_id, balance_micro, held_micro, seq, owed_micro, moved_at
    FROM ledger_balance
    WHERE account_id = ANY($1::uuid[])
    ORDER BY account_id
    FOR NO KEY UPDATE
) AS account
