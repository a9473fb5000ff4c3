"""`Idempotency-Key`: what a call calls itself, and how a repeat is answered with what the first call got."""

from __future__ import annotations

import asyncio
import hmac
from typing import Final

from apps.core import headers
from apps.core.ids import show_request_id
from apps.dialects.protocol import Dialect, InvalidRequest
from apps.dialects.replayed import Silent, silent_reply, silent_stream
from apps.gateway import insuring, respond
from apps.gateway.call import Call, Send
from apps.gateway.figures import governor_headers
from apps.gateway.keeping import mark_of
from apps.gateway.permit import Permit
from apps.gateway.stores import Stores
from apps.governor.store.protocol import Admission
from apps.ledger.idempotency import Idempotency, PastCall

MAX_KEY_LENGTH: Final = 255
THREAD_BYTES: Final = 262_144
"""A longer body is digested in a thread: a hundred microseconds of everybody's time are enough."""


def check_key(call: Call) -> None:
    """Raises: InvalidRequest, where the header is there and is no key."""
    key = call.headers.get(headers.IDEMPOTENCY_KEY)
    if key is None:
        return
    text = key.decode("latin-1")
    if not 0 < len(text) <= MAX_KEY_LENGTH or not text.isascii() or not text.isprintable():
        message = f"`Idempotency-Key` must be 1 to {MAX_KEY_LENGTH} printable ASCII characters."
        raise InvalidRequest(message, param="Idempotency-Key")


async def name_call(call: Call, dialect: Dialect, body: bytes, *, pepper: str) -> Idempotency | None:
    """The digests by which repeats of this call are known; None where it names none."""
    key = call.headers.get(headers.IDEMPOTENCY_KEY)
    if key is None:
        return None
    asked = (pepper.encode(), f"body {dialect.endpoint}", body)
    digest = await asyncio.to_thread(_digest, *asked) if len(body) > THREAD_BYTES else _digest(*asked)
    return Idempotency(_digest(pepper.encode(), "key", key), digest)


def _digest(pepper: bytes, what: str, data: bytes) -> str:
    digest = hmac.new(pepper, f"hypereal idempotency {what}\0".encode(), "sha256")
    digest.update(data)
    return digest.hexdigest()


async def replay(
    call: Call, permitted: Permit, past: PastCall, admission: Admission, *, send: Send, stores: Stores
) -> None:
    """Answer a repeat: the first call's status, usage, charge and request id, and its reply where that is kept."""
    claim = insuring.past_claim(past)
    insurance = b"" if past.is_stream else insuring.claim_block(claim)
    block = respond.hypereal_block(past.model_id, past, is_estimated=past.is_estimated, insurance=insurance)
    if past.reply is not None:
        reply = past.reply.replace(mark_of(past.request_id), block)
    else:
        silent = Silent(
            id=past.request_id.hex,
            model_id=past.model_id,
            made_at=past.received_at,
            usage=past.usage,
            hypereal=block,
            wants_usage=permitted.request.wants_usage,
        )
        render = silent_stream if past.is_stream else silent_reply
        reply = render(permitted.dialect.endpoint, silent)
    head = [
        *((respond.EVENT_STREAM, respond.NO_CACHE) if past.is_stream else (respond.JSON,)),
        *respond.id_headers(show_request_id(past.request_id)),
        *governor_headers(admission, stores.governor, route_key=permitted.routes[0].key, anthropic=call.is_anthropic),
        *(() if claim is None else insuring.claim_headers(claim)),
        (headers.REPLAYED, b"true"),
    ]
    call.is_answered = True
    await respond.send_reply(send, status=200, head=head, body=reply)
