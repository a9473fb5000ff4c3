-- read_keys.postgres.sql : whether the keys that ask for holds may still spend, as committed now.
-- in   : keys, a uuid[]      out: key_id, status of the key, its expiry, status of its account
SELECT k.id, k.status, k.expires_at, a.status
FROM keys_apikey k
JOIN accounts_account a ON a.id = k.account_id
WHERE k.id = ANY(%(keys)s)
