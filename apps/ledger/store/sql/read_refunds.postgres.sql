-- read_refunds.postgres.sql : what of requests' charges was refunded before, under their accounts' locks.
-- in   : $1 accounts uuid[], $2 requests uuid[], in pairs
-- out  : [[request_id, amount, granted], …], null where there are none
SELECT json_agg(json_build_array(subject_id, amount_micro, granted_micro))
FROM (
    SELECT e.subject_id, sum(e.amount_micro)::bigint AS amount_micro, sum(e.granted_micro)::bigint AS granted_micro
    FROM (SELECT DISTINCT * FROM unnest($1::uuid[], $2::uuid[]) AS pair (account_id, subject_id)) AS wanted
    JOIN ledger_entry e ON e.account_id = wanted.account_id AND e.subject_id = wanted.subject_id
    WHERE e.kind = 'refund'
    GROUP BY e.subject_id
) AS refunded
