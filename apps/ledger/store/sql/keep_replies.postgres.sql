-- keep_replies.postgres.sql : keep what calls were answered, for their repeats.
-- in   : $1 a JSON array of {"account_id", "request_id", "reply" in base64}      out: nothing
-- locks: none beyond the account rows that the batch holds already.
UPDATE ledger_idempotencykey known
SET reply = decode(new.reply, 'base64')
FROM json_to_recordset($1::json) AS new (account_id uuid, request_id uuid, reply text)
WHERE known.account_id = new.account_id AND known.request_id = new.request_id
