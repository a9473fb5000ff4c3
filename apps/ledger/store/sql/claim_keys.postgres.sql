-- claim_keys.postgres.sql : let idempotency keys belong to calls whose holds were just granted.
-- in   : $1 a JSON array of {"id", "account_id", "key_digest", "body_digest", "request_id"}      out: nothing
-- locks: none beyond the account rows that the batch holds already; what removes old keys waits for none.
INSERT INTO ledger_idempotencykey AS known (id, account_id, key_digest, body_digest, request_id, claimed_at)
SELECT id, account_id, key_digest, body_digest, request_id, now()
FROM json_to_recordset($1::json)
    AS new (id uuid, account_id uuid, key_digest text, body_digest text, request_id uuid)
ON CONFLICT (account_id, key_digest) DO UPDATE
SET body_digest = excluded.body_digest, request_id = excluded.request_id, claimed_at = now(), reply = NULL
