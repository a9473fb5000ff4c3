-- recount_holds.postgres.sql : let holds count in windows that were opened after they were taken.
-- in   : $1 a JSON array of {"request_id", "windows"}      out: nothing
-- locks: none beyond the account rows that the batch holds already.
UPDATE ledger_hold hold
SET windows = recounted.windows
FROM json_to_recordset($1::json) AS recounted (request_id uuid, windows jsonb)
WHERE hold.request_id = recounted.request_id
