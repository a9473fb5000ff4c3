-- read_windows.postgres.sql : the budget windows that a batch touches, under their accounts' locks.
-- in   : $1 a JSON array of [account_id, scope, period, starts_at]; starts_at null: the window that now() falls in
-- out  : [[account_id, scope, period, starts_at, spent, held], …], null where there are none
SELECT json_agg(json_build_array(w.account_id, w.scope, w.period, w.starts_at, w.spent_micro, w.held_micro))
FROM json_array_elements($1::json) AS wanted
JOIN ledger_budgetwindow w
    ON w.account_id = (wanted ->> 0)::uuid
    AND w.scope = wanted ->> 1
    AND w.period = wanted ->> 2
    AND w.starts_at = coalesce(
        (wanted ->> 3)::timestamptz,
        CASE wanted ->> 2
            WHEN 'hourly' THEN date_trunc('hour', now(), 'UTC')
            WHEN 'daily' THEN date_trunc('day', now(), 'UTC')
            ELSE to_timestamp(0)
        END
    )
