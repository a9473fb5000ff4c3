-- read_holds.postgres.sql : the holds that a batch settles, releases or repeats, under their accounts' locks.
-- in   : requests, a uuid[]      out: request_id, amount, state, windows
SELECT request_id, amount_micro, state, windows::text
FROM ledger_hold
WHERE request_id = ANY(%(requests)s)
