from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from apps.core.errors import ERRORS, GatewayError, rfc3339

CODES_BY_STATUS = {
    400: {"invalid_request", "unsupported_field", "context_length_exceeded"},
    401: {"invalid_api_key"},
    402: {
        "insufficient_credits",
        "key_limit_exhausted",
        "key_budget_exhausted",
        "key_model_limit_exhausted",
        "account_budget_exhausted",
    },
    403: {"key_suspended", "key_expired", "model_not_allowed", "ip_not_allowed", "cli_only_model", "account_frozen"},
    404: {"model_not_found", "not_found"},
    405: {"method_not_allowed"},
    408: {"request_timeout"},
    409: {"idempotency_in_progress"},
    413: {"body_too_large"},
    415: {"unsupported_encoding"},
    422: {"idempotency_mismatch"},
    426: {"websocket_unsupported"},
    429: {
        "account_rpm",
        "key_rpm",
        "key_model_rpm",
        "model_rpm",
        "model_tpm",
        "model_ipm",
        "credits_reserved",
    },
    500: {"internal_error"},
    502: {"upstream_error"},
    503: {"queue_full", "queue_timeout", "circuit_open", "upstream_overloaded", "store_unavailable"},
    504: {"upstream_timeout"},
}
ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    426: "invalid_request_error",
    429: "rate_limit_error",
    502: "api_error",
    504: "timeout_error",
}


def test_every_code_has_its_status() -> None:
    by_status: dict[int, set[str]] = {}
    for code, kind in ERRORS.items():
        by_status.setdefault(kind.status, set()).add(code)
    assert by_status == CODES_BY_STATUS


@pytest.mark.parametrize(("status", "anthropic_type"), ANTHROPIC_TYPES.items())
def test_anthropics_types(status: int, anthropic_type: str) -> None:
    assert {ERRORS[code].anthropic_type for code in CODES_BY_STATUS[status]} == {anthropic_type}


def test_only_what_may_succeed_later_says_when_to_try_again() -> None:
    for code, kind in ERRORS.items():
        says_when = GatewayError(code, "…").retry_after_s is not None
        assert says_when == (kind.status in {409, 429, 503}), code
        assert (kind.should_retry is False) == (kind.status in {401, 402, 403}), code


@pytest.mark.parametrize("code", ["queue_full", "queue_timeout", "circuit_open", "upstream_overloaded"])
def test_overload_has_anthropics_own_status(code: str) -> None:
    error = GatewayError(code, "busy")
    assert (error.status_for(anthropic=True), error.status_for(anthropic=False)) == (529, 503)


def test_a_store_that_is_away_is_503_everywhere() -> None:
    error = GatewayError("store_unavailable", "away")
    assert (error.status_for(anthropic=True), error.status_for(anthropic=False), error.retry_after_s) == (503, 503, 2)


def test_an_upstreams_own_status_is_kept() -> None:
    error = GatewayError("invalid_request", "theirs", status=422, param="n", retry_after_s=9)
    assert (error.status, error.param, error.retry_after_s, str(error)) == (422, "n", 9, "theirs")


def test_instants_are_shown_in_utc() -> None:
    moment = datetime(2026, 11, 22, 20, 30, 5, 123_456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert rfc3339(moment) == "2026-11-22T15:00:05Z"
    assert rfc3339(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00Z"
