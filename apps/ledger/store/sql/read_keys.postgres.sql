-- read_keys.postgres.sql : whether the keys that ask for holds may still spend, as committed now.
-- in   : $1 keys, a uuid[]      out: [[key_id, is_suspended, is_frozen, expires_at, absorbed_cap], …], null where there are none
SELECT json_agg(json_build_array(k.id, k.status <> 'active', a.status <> 'active', k.expires_at, a.absorbed_cap_micro))
FROM keys_apikey k
JOIN accounts_account a ON a.id = k.account_id
WHERE k.id = ANY($1::uuid[])
