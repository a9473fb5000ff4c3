-- read_windows.postgres.sql : the budget windows that a batch touches, under their accounts' locks.
-- in   : accounts uuid[], scopes text[], periods text[], starts timestamptz[] (NULL: the window that now() falls in)
-- out  : account_id, scope, period, starts_at, spent, held
SELECT w.account_id, w.scope, w.period, w.starts_at, w.spent_micro, w.held_micro
FROM unnest(%(accounts)s::uuid[], %(scopes)s::text[], %(periods)s::text[], %(starts)s::timestamptz[])
    AS wanted (account_id, scope, period, starts_at)
JOIN ledger_budgetwindow w
    ON w.account_id = wanted.account_id
    AND w.scope = wanted.scope
    AND w.period = wanted.period
    AND w.starts_at = coalesce(
        wanted.starts_at,
        CASE wanted.period
            WHEN 'hourly' THEN date_trunc('hour', now(), 'UTC')
            WHEN 'daily' THEN date_trunc('day', now(), 'UTC')
            ELSE to_timestamp(0)
        END
    )
