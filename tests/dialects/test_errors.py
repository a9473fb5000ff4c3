"""Any error in the shape of the dialect called (SPEC 2.6)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from apps.core.errors import ERRORS, GatewayError, LimitFacts
from apps.dialects.errors import render_error
from apps.dialects.protocol import InvalidRequest, UnsupportedField

RESETS_AT = datetime(2026, 11, 22, 15, 0, tzinfo=UTC)


def rendered(error: GatewayError, *, anthropic: bool) -> tuple[int, dict[str, str], dict[str, Any]]:
    reply = render_error(error, anthropic=anthropic, request_id="req_1")
    names = [name for name, _ in reply.headers]
    assert len(names) == len(set(names))
    assert all(name == name.lower() for name in names)
    return reply.status, {name.decode(): value.decode() for name, value in reply.headers}, json.loads(reply.body)


def test_openai_shape() -> None:
    status, headers, body = rendered(InvalidRequest("`n` is too large.", param="n"), anthropic=False)
    assert status == 400
    assert headers == {"content-type": "application/json", "x-request-id": "req_1", "request-id": "req_1"}
    assert body == {
        "error": {
            "message": "`n` is too large.",
            "type": "invalid_request_error",
            "param": "n",
            "code": "invalid_request",
        }
    }


def test_anthropic_shape() -> None:
    status, _, body = rendered(UnsupportedField("No.", param="speed"), anthropic=True)
    assert status == 400
    assert body == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "No.", "code": "unsupported_field"},
        "request_id": "req_1",
    }


@pytest.mark.parametrize("anthropic", [True, False])
@pytest.mark.parametrize("code", ERRORS)
def test_every_row_of_the_table(code: str, anthropic: bool) -> None:
    kind = ERRORS[code]
    status, headers, body = rendered(GatewayError(code, "Why."), anthropic=anthropic)
    assert status == ((kind.anthropic_status if anthropic else None) or kind.status)
    assert body["error"]["type"] == (kind.anthropic_type if anthropic else kind.openai_type)
    assert body["error"]["code"] == code
    assert headers.get("x-should-retry") == ("false" if kind.should_retry is False else None)
    seconds = kind.default_retry_after_s
    assert headers.get("retry-after") == (None if seconds is None else str(seconds))


def test_overload_is_529_where_anthropic_says_so() -> None:
    overloaded = GatewayError("queue_full", "Full.", retry_after_s=3)
    assert rendered(overloaded, anthropic=True)[0] == 529
    status, headers, _ = rendered(overloaded, anthropic=False)
    assert (status, headers["retry-after"]) == (503, "3")


def test_an_upstreams_own_status_is_handed_on() -> None:
    assert rendered(GatewayError("invalid_request", "Bad.", status=422), anthropic=False)[0] == 422


@pytest.mark.parametrize("anthropic", [True, False])
def test_limits_of_money_are_shown_in_credits(anthropic: bool) -> None:
    facts = LimitFacts(
        limit="key_daily",
        value=1_000_000_000,
        used=987_654_321,
        resets_at=RESETS_AT,
        is_money=True,
        needed=13_600,
        available=0,
        max_tokens=812,
    )
    reply = render_error(
        GatewayError("key_budget_exhausted", "Spent.", facts=facts), anthropic=anthropic, request_id="req_1"
    )
    assert b'"value":1000,"used":987.654321' in reply.body
    assert json.loads(reply.body)["error"]["hypereal"] == {
        "limit": "key_daily",
        "value": 1_000,
        "used": 987.654321,
        "resets_at": "2026-11-22T15:00:00Z",
        "needed": 0.0136,
        "available": 0,
        "max_tokens": 812,
    }
    headers = dict(reply.headers)
    assert headers[b"x-hypereal-limit-reset"] == b"2026-11-22T15:00:00Z"
    assert headers[b"x-should-retry"] == b"false"
    assert b"retry-after" not in headers


def test_a_balance_has_no_reset() -> None:
    facts = LimitFacts(limit="balance", value=0, used=0, is_money=True)
    _, headers, body = rendered(GatewayError("insufficient_credits", "Empty.", facts=facts), anthropic=False)
    assert "x-hypereal-limit-reset" not in headers
    assert body["error"]["hypereal"] == {"limit": "balance", "value": 0, "used": 0, "resets_at": None}


def test_rates_are_shown_in_the_dialects_own_family() -> None:
    facts = LimitFacts(limit="account_rpm", value=10_000, used=10_004, resets_at=RESETS_AT)
    error = GatewayError("account_rpm", "Slow down.", retry_after_s=7, facts=facts)
    _, headers, body = rendered(error, anthropic=False)
    assert (headers["retry-after"], headers["x-ratelimit-limit-requests"]) == ("7", "10000")
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert "x-hypereal-limit-reset" not in headers
    assert body["error"]["hypereal"]["used"] == 10_004
    _, headers, _ = rendered(error, anthropic=True)
    assert headers["anthropic-ratelimit-requests-limit"] == "10000"
    assert headers["anthropic-ratelimit-requests-reset"] == "2026-11-22T15:00:00Z"


def test_rates_of_tokens_are_shown_as_tokens() -> None:
    facts = LimitFacts(limit="model_tpm", value=40_000, used=39_000)
    error = GatewayError("model_tpm", "Slow down.", facts=facts)
    assert rendered(error, anthropic=False)[1]["x-ratelimit-remaining-tokens"] == "1000"
    assert rendered(error, anthropic=True)[1]["anthropic-ratelimit-tokens-remaining"] == "1000"


def test_whatever_the_message_holds_is_json() -> None:
    _, _, body = rendered(InvalidRequest('"quoted"\u0000\n<b>'), anthropic=False)
    assert body["error"]["message"] == '"quoted"\u0000\n<b>'
