-- read_grants.postgres.sql : the grants of which something remains, expired ones too, under their accounts' locks.
-- in   : $1 accounts, a uuid[]
-- out  : [[id, account_id, amount, remaining, priority, expires_at, created_at], …], null where there are none
SELECT json_agg(json_build_array(id, account_id, amount_micro, remaining_micro, priority, expires_at, created_at))
FROM ledger_grant
WHERE account_id = ANY($1::uuid[]) AND remaining_micro > 0
