-- read_known_calls.postgres.sql : the calls that idempotency keys belong to, and how they ended, under their accounts' locks.
-- in   : $1 a JSON array of [account_id, digest of the key], $2 how long a key is kept, in seconds
-- out  : [[account_id, key, body, request_id, is_running, what it got or null], …], null where there are none. A call that
--        was told that it failed has nothing, though it may have been charged for a moment.
SELECT json_agg(
    json_build_array(
        known.account_id, known.key_digest, known.body_digest, known.request_id, hold.request_id IS NOT NULL,
        CASE
            WHEN record.status IN ('succeeded', 'abandoned') AND annulment.id IS NULL
            THEN json_build_object(
                'record', to_json(record),
                'balances_micro', CASE
                    WHEN charge.id IS NOT NULL
                    THEN json_build_array(charge.balance_before_micro, charge.balance_after_micro)
                END,
                'reply', replace(encode(known.reply, 'base64'), E'\n', '')
            )
        END
    )
)
FROM json_array_elements($1::json) AS wanted
JOIN ledger_idempotencykey known
    ON known.account_id = (wanted ->> 0)::uuid
    AND known.key_digest = wanted ->> 1
    AND known.claimed_at > now() - make_interval(secs => $2::int)
LEFT JOIN ledger_hold hold ON hold.request_id = known.request_id AND hold.state = 'open'
LEFT JOIN usage_usagerecord record ON record.request_id = known.request_id
LEFT JOIN ledger_entry charge
    ON charge.account_id = known.account_id AND charge.operation_id = known.request_id AND charge.kind = 'charge'
LEFT JOIN ledger_entry annulment
    ON annulment.account_id = known.account_id
    AND annulment.operation_id = known.request_id
    AND annulment.kind = 'correction'
