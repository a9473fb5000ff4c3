-- count_windows.postgres.sql : what was spent and is held in windows that are about to be opened, under their accounts' locks.
-- in   : $1 a JSON array of {"account_id", "scope", "period", "starts_at", "key_id", "model_id", "since"}; key_id or
--        model_id null: of any. Records count by their request's id, from `since` on; holds by when they were taken.
--        One that was closed (the batch waited since before its turn) says itself what was spent.
-- out  : [[account_id, scope, period, starts_at, spent, [[request_id, amount, is_open, windows], …]], …]
SELECT json_agg(
    json_build_array(
        missing.account_id, missing.scope, missing.period, missing.starts_at,
        coalesce(
            (
                SELECT closed.spent_micro
                FROM ledger_closedwindow closed
                WHERE closed.account_id = missing.account_id
                    AND closed.scope = missing.scope
                    AND closed.period = missing.period
                    AND closed.starts_at = missing.starts_at
            ),
            (
                SELECT coalesce(sum(record.charge_micro), 0)::bigint
                FROM usage_usagerecord record
                WHERE record.account_id = missing.account_id
                    AND record.request_id >= missing.since
                    AND (missing.key_id IS NULL OR record.key_id = missing.key_id)
                    AND (missing.model_id IS NULL OR record.model_id = missing.model_id)
            )
        ),
        (
            SELECT coalesce(
                json_agg(json_build_array(hold.request_id, hold.amount_micro, hold.state = 'open', hold.windows)), '[]'
            )
            FROM ledger_hold hold
            WHERE hold.account_id = missing.account_id
                AND hold.created_at >= missing.starts_at
                AND (missing.key_id IS NULL OR hold.key_id = missing.key_id)
                AND (missing.model_id IS NULL OR hold.model_id = missing.model_id)
        )
    )
)
FROM json_to_recordset($1::json) AS missing (
    account_id uuid, scope text, period text, starts_at timestamptz, key_id uuid, model_id text, since uuid
)
