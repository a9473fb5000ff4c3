-- read_closed_windows.postgres.sql : windows that were closed before a hold that counts in them ended.
-- in   : $1 a JSON array of [account_id, scope, period, starts_at]
-- out  : [[account_id, scope, period, starts_at, spent, 0], …], null where there are none: as read_windows answers
SELECT json_agg(json_build_array(w.account_id, w.scope, w.period, w.starts_at, w.spent_micro, 0))
FROM json_array_elements($1::json) AS wanted
JOIN ledger_closedwindow w
    ON w.account_id = (wanted ->> 0)::uuid
    AND w.scope = wanted ->> 1
    AND w.period = wanted ->> 2
    AND w.starts_at = (wanted ->> 3)::timestamptz
