-- write_grants.postgres.sql : add new grants, and write what remains of those that were used.
-- in   : $1 a JSON array of objects whose keys are the columns      out: nothing
-- locks: none beyond the account rows that the batch holds already.
INSERT INTO ledger_grant (id, account_id, amount_micro, remaining_micro, priority, expires_at, created_at)
SELECT id, account_id, amount_micro, remaining_micro, priority, expires_at, created_at
FROM json_to_recordset($1::json) AS new (
    id uuid, account_id uuid, amount_micro bigint, remaining_micro bigint, priority smallint, expires_at timestamptz,
    created_at timestamptz
)
ON CONFLICT (id) DO UPDATE SET remaining_micro = excluded.remaining_micro
