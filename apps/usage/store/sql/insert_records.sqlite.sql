-- insert_records.sqlite.sql : add usage records, run once per record.
-- in   : the columns by name      out: nothing
-- A record that is already there stays as it is: the operation was repeated.
INSERT INTO usage_usagerecord (
    request_id, account_id, key_id, model_id, endpoint, is_stream, received_at, status, http_status, error_code,
    error_detail, input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens,
    reasoning_tokens, image_input_tokens, image_output_tokens, server_tool_requests, price_version_id,
    insurance_version_id, threshold_ms, claim, claim_trigger, due_micro, charge_micro, compensated_micro,
    absorbed_micro, held_micro, is_estimated, latency_ms, first_byte_ms, queue_ms, session_id, client, route_id,
    provider, upstream_request_id, adapted, facts, attempts
) VALUES (
    :request_id, :account_id, :key_id, :model_id, :endpoint, :is_stream, :received_at, :status, :http_status,
    :error_code, :error_detail, :input_tokens, :cache_read_tokens, :cache_write_5m_tokens, :cache_write_1h_tokens,
    :output_tokens, :reasoning_tokens, :image_input_tokens, :image_output_tokens, :server_tool_requests,
    :price_version_id, :insurance_version_id, :threshold_ms, :claim, :claim_trigger, :due_micro, :charge_micro,
    :compensated_micro, :absorbed_micro, :held_micro, :is_estimated, :latency_ms, :first_byte_ms, :queue_ms,
    :session_id, :client, :route_id, :provider, :upstream_request_id, :adapted, :facts,
    :attempts
)
ON CONFLICT (request_id) DO NOTHING
