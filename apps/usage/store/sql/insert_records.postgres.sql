-- insert_records.postgres.sql : add usage records, many in one statement.
-- in   : $1 records, a JSON array of objects whose keys are the columns      out: nothing
-- A record that is already there stays as it is: the operation was repeated.
INSERT INTO usage_usagerecord (
    request_id, account_id, key_id, model_id, endpoint, is_stream, received_at, status, http_status, error_code,
    error_detail, input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens,
    reasoning_tokens, image_input_tokens, image_output_tokens, server_tool_requests, price_version_id,
    insurance_version_id, threshold_ms, claim, claim_trigger, due_micro, charge_micro, compensated_micro,
    absorbed_micro, held_micro, is_estimated, latency_ms, first_byte_ms, queue_ms, session_id, client, route_id,
    provider, upstream_request_id, adapted, facts, attempts
)
SELECT
    request_id, account_id, key_id, model_id, endpoint, is_stream, received_at, status, http_status, error_code,
    error_detail, input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens,
    reasoning_tokens, image_input_tokens, image_output_tokens, server_tool_requests, price_version_id,
    insurance_version_id, threshold_ms, claim, claim_trigger, due_micro, charge_micro, compensated_micro,
    absorbed_micro, held_micro, is_estimated, latency_ms, first_byte_ms, queue_ms, session_id, client, route_id,
    provider, upstream_request_id, adapted, facts, attempts
FROM json_to_recordset($1::json) AS record (
    request_id uuid, account_id uuid, key_id uuid, model_id text, endpoint text, is_stream boolean, received_at
    timestamptz, status text, http_status smallint, error_code text, error_detail text, input_tokens bigint,
    cache_read_tokens bigint, cache_write_5m_tokens bigint, cache_write_1h_tokens bigint, output_tokens bigint,
    reasoning_tokens bigint, image_input_tokens bigint, image_output_tokens bigint, server_tool_requests bigint,
    price_version_id uuid, insurance_version_id uuid, threshold_ms bigint, claim text, claim_trigger text,
    due_micro bigint, charge_micro bigint, compensated_micro bigint, absorbed_micro bigint, held_micro bigint,
    is_estimated boolean, latency_ms bigint, first_byte_ms bigint, queue_ms bigint, session_id text, client text,
    route_id uuid, provider text, upstream_request_id text, adapted text, facts jsonb, attempts jsonb
)
ON CONFLICT DO NOTHING
