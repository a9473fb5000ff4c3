"""Render any GatewayError in the shape of the dialect called (SPEC 2.6)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from apps.core import clock, headers
from apps.core.errors import GatewayError, LimitFacts, turning_at
from apps.core.money import json_amount
from apps.dialects.protocol import RenderedError
from apps.dialects.rate_limits import rate_headers

__all__ = ["RenderedError", "anthropic_error", "openai_error", "render_error"]


def render_error(error: GatewayError, *, anthropic: bool, request_id: str) -> RenderedError:
    """Status, headers and JSON body; `request_id` as shown to callers (`req_…`)."""
    body = anthropic_error(error, request_id=request_id) if anthropic else {"error": openai_error(error)}
    return RenderedError(
        status=error.status_for(anthropic=anthropic),
        headers=_headers(error, anthropic=anthropic, request_id=request_id),
        body=msgspec.json.encode(body),
    )


def openai_error(error: GatewayError) -> dict[str, Any]:
    """The inner object: `{"message", "type", "param", "code", "hypereal"?}`."""
    shape: dict[str, Any] = {
        "message": error.message,
        "type": error.kind.openai_type,
        "param": error.param,
        "code": error.code,
    }
    return _with_facts(shape, error.facts)


def anthropic_error(error: GatewayError, *, request_id: str) -> dict[str, Any]:
    """The whole object: `{"type": "error", "error": {"type", "message", "code", "hypereal"?}, "request_id"}`."""
    shape: dict[str, Any] = {"type": error.kind.anthropic_type, "message": error.message, "code": error.code}
    return {"type": "error", "error": _with_facts(shape, error.facts), "request_id": request_id}


def _with_facts(shape: dict[str, Any], facts: LimitFacts | None) -> dict[str, Any]:
    if facts is None:
        return shape
    shown: dict[str, Any] = {
        "limit": facts.limit,
        "value": _amount(facts.value, facts),
        "used": _amount(facts.used, facts),
        "resets_at": turning_at(facts.resets_at) if facts.resets_at is not None else None,
    }
    if facts.needed is not None:
        shown["needed"] = _amount(facts.needed, facts)
    if facts.available is not None:
        shown["available"] = _amount(facts.available, facts)
    if facts.max_tokens is not None:
        shown["max_tokens"] = facts.max_tokens
    return {**shape, "hypereal": shown}


def _amount(value: int, facts: LimitFacts) -> int | Raw:
    """Credits as an exact JSON number, or a plain count."""
    return Raw(json_amount(value).encode()) if facts.is_money else value


def _headers(error: GatewayError, *, anthropic: bool, request_id: str) -> list[tuple[bytes, bytes]]:
    shown = request_id.encode("ascii", "replace")
    rendered = [
        (b"content-type", b"application/json"),
        (headers.X_REQUEST_ID, shown),
        (headers.REQUEST_ID, shown),
    ]
    if error.retry_after_s is not None:
        rendered.append((headers.RETRY_AFTER, str(error.retry_after_s).encode()))
    if error.kind.should_retry is False:
        rendered.append((headers.SHOULD_RETRY, b"false"))
    facts = error.facts
    if facts is not None and error.status == 402 and facts.resets_at is not None:
        rendered.append((headers.LIMIT_RESET, turning_at(facts.resets_at).encode()))
    if facts is not None and error.status == 429 and not facts.is_money:
        rendered += rate_headers(
            limit=facts.value,
            remaining=max(0, facts.value - facts.used),
            resets_at=facts.resets_at,
            now=clock.now(),
            is_tokens=error.kind.openai_type == "tokens",
            anthropic=anthropic,
        )
    return rendered
