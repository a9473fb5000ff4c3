-- lock_accounts.postgres.sql : take the accounts of a batch, alone in its statement.
-- in   : accounts, a uuid[]      out: each account's balance, and the transaction's time
-- locks: account rows ordered by id, so that two batches never wait on each other. What another process wrote while
--        this statement waited is seen by the next one.
SELECT account_id, balance_micro, held_micro, seq, now()
FROM ledger_balance
WHERE account_id = ANY(%(accounts)s)
ORDER BY account_id
FOR NO KEY UPDATE
