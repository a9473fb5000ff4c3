-- read_insurance_caps.postgres.sql : what insurance may pay accounts in a day, as committed now.
-- in   : $1 accounts, a uuid[]      out: {account_id: cap}, cap null: without limit; null where there are none
SELECT json_object_agg(id, insurance_cap_micro) FROM accounts_account WHERE id = ANY($1::uuid[])
