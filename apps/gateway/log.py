"""The call's record: opened with the request, filled on the way, written with the money."""

from __future__ import annotations

from apps.core.errors import GatewayError, LimitFacts, rfc3339
from apps.core.money import json_amount
from apps.dialects.protocol import Dialect, Request
from apps.gateway.call import Call
from apps.gateway.forward import Forwarded
from apps.keys.rules import Client, KeySnapshot
from apps.upstreams.rules import SIMULATOR
from apps.usage.record import Record, clean


def milliseconds(seconds: float) -> int:
    return max(0, int(seconds * 1000))


def open_record(
    call: Call, *, key: KeySnapshot, request: Request | None, dialect: Dialect, client: Client | None
) -> Record:
    """The record of a call whose key is known."""
    return Record(
        request_id=call.request_id,
        account_id=key.account_id,
        key_id=key.key_id,
        model_id=request.model_id if request is not None else "",
        endpoint=dialect.endpoint,
        is_stream=request.is_stream if request is not None else False,
        received_at=call.received_at,
        client=clean(client.user_agent if client is not None else call.header(b"user-agent"), "client"),
        adapted=clean(", ".join(request.adapted), "adapted") if request is not None and request.adapted else "",
    )


def clean_session(session_id: str) -> str:
    return clean(session_id, "session_id") if session_id else ""


def note_reply(record: Record, forwarded: Forwarded) -> None:
    """Under which id of its own the upstream served it."""
    if forwarded.route.provider != SIMULATOR:
        reply_headers = forwarded.reply.headers
        upstream_id = reply_headers.get("x-request-id") or reply_headers.get("request-id") or ""
        record.upstream_request_id = clean(upstream_id, "upstream_request_id")


def note_failure(record: Record, error: GatewayError, *, status: str, anthropic: bool) -> None:
    """How it ended, for the people of the account and for `explain`."""
    record.status = status
    record.http_status = error.status_for(anthropic=anthropic)
    record.error_code = error.code
    record.error_detail = clean(error.message, "error_detail")
    record.facts = _facts(error.facts)


def _facts(facts: LimitFacts | None) -> dict[str, object] | None:
    if facts is None:
        return None
    # Amounts as text: exact in every store, and read by people.
    show = json_amount if facts.is_money else str
    return {
        "limit": facts.limit,
        "value": show(facts.value),
        "used": show(facts.used),
        "needed": None if facts.needed is None else show(facts.needed),
        "available": None if facts.available is None else show(facts.available),
        "resets_at": None if facts.resets_at is None else rfc3339(facts.resets_at),
    }
