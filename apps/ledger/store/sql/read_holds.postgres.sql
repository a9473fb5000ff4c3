-- read_holds.postgres.sql : the holds that a batch settles, releases or repeats, under their accounts' locks.
-- in   : $1 requests, a uuid[]      out: [[request_id, amount, is_open, windows], …], null where there are none
SELECT json_agg(json_build_array(request_id, amount_micro, state = 'open', windows))
FROM ledger_hold
WHERE request_id = ANY($1::uuid[])
