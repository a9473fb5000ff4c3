-- lock_free_accounts.postgres.sql : take those accounts of a batch that nobody else has locked.
-- in   : $1 accounts, a uuid[]      out: {"now", "balances": [[account_id, balance, held, seq, owed, moved_at], …], "busy": [account_id, …]}
-- locks: account rows, waiting for none. `busy` exist and are somebody else's at this moment.
WITH free AS (
    SELECT account_id, balance_micro, held_micro, seq, owed_micro, moved_at
    FROM ledger_balance
    WHERE account_id = ANY($1::uuid[])
    ORDER BY account_id
    FOR NO KEY UPDATE SKIP LOCKED
)
SELECT json_build_object(
    'now', now(),
    'balances', coalesce(json_agg(json_build_array(account_id, balance_micro, held_micro, seq, owed_micro, moved_at)), '[]'),
    'busy', (
        SELECT coalesce(json_agg(account_id), '[]')
        FROM ledger_balance
        WHERE account_id = ANY($1::uuid[]) AND account_id NOT IN (SELECT account_id FROM free)
    ),
    'limit', set_config('lock_timeout', '0', true)
)
FROM free
