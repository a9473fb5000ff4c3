"""`count_tokens`: how long a prompt is, by an upstream's own count, or by ours and marked as an estimate. Free."""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from apps.catalog.cache import ModelSnapshot
from apps.core import clock
from apps.dialects.anthropic_messages.request import parse_count
from apps.dialects.passage import PassThrough
from apps.dialects.protocol import ANTHROPIC_MESSAGES, Request
from apps.dialects.registry import DIALECTS
from apps.gateway import respond
from apps.gateway.call import Call, Receive, Send
from apps.gateway.forward import HANDED_ON, MAX_ERROR_BYTES, upstream_headers
from apps.gateway.guard import check_length, read_body
from apps.gateway.identify import identify, read_client
from apps.gateway.metering import BYTES_PER_TOKEN, count_prompt
from apps.gateway.permit import check_call, read_session_id
from apps.gateway.stores import Stores
from apps.gateway.vet import may_count_upstream
from apps.upstreams.rules import RouteSnapshot, UpstreamFailed, order
from apps.upstreams.transport.protocol import TransportError, UpstreamCall

logger = logging.getLogger(__name__)

PATHS: Final = ("/v1/messages/count_tokens", "/v1/managed/messages/count_tokens")
UPSTREAM_PATH: Final = "/v1/messages/count_tokens"
MAX_ASKED: Final = 32
"""Counts that one process has under way upstream; more are estimated."""
FIRST_BYTE_S: Final = 10.0
"""An upstream that takes longer is not waited for: an estimate is worth more than a late count."""


class _Counted(msgspec.Struct):
    input_tokens: int


_COUNTED: Final = msgspec.json.Decoder(_Counted)


async def count_tokens(call: Call, receive: Receive, send: Send, stores: Stores) -> None:
    """Answer one request: no hold, no slot, no rate, no usage record.

    Raises: GatewayError; CallerLeft.
    """
    key = await identify(call, stores)
    check_length(call)
    body = await read_body(call, receive)
    request = parse_count(body)
    _account, model = check_call(call, request, key=key, client=read_client(call), stores=stores)
    stores.counts.take(key.key_id, now_s=clock.monotonic())
    counted = await _ask(call, request, model, stores) if may_count_upstream(call, request, model) else None
    if counted is None:
        tokens = await _estimate(request, model, stores)
        counted = b'{"input_tokens":%d,"hypereal":{"estimated":true}}' % tokens
    head = [respond.JSON, *respond.request_headers(call)]
    await respond.send_reply(send, status=200, head=head, body=counted)


async def _ask(call: Call, request: Request, model: ModelSnapshot, stores: Stores) -> bytes | None:
    """The count of the route that the call itself would take; None where it has none to give now.

    Raises: UpstreamFailed, where the request is at fault.
    """
    session_id = read_session_id(call, request)
    routes = order(
        stores.routes.of(model.model_id, dialects=model.dialects),
        dialect=ANTHROPIC_MESSAGES,
        reachable=frozenset({ANTHROPIC_MESSAGES}),
        session_id=session_id,
        spread=0,
    )
    route = next((route for route in routes if stores.governor.circuit(route.key) == "closed"), None)
    if route is None or stores.counting >= MAX_ASKED:
        return None
    stores.counting += 1
    try:
        return await _ask_route(call, request, route, model, stores)
    except TransportError:
        return None
    finally:
        stores.counting -= 1


async def _ask_route(
    call: Call, request: Request, route: RouteSnapshot, model: ModelSnapshot, stores: Stores
) -> bytes | None:
    passage = PassThrough(DIALECTS[ANTHROPIC_MESSAGES], request)
    reply = await stores.transport.send(
        UpstreamCall(
            url=route.base_urls[ANTHROPIC_MESSAGES] + UPSTREAM_PATH,
            headers=upstream_headers(call, passage, route, context_tokens=model.context_tokens),
            body=passage.upstream_body(upstream_model=route.upstream_model, max_tokens=None, account_tag=""),
            connect_timeout_s=route.connect_timeout_s,
            first_byte_timeout_s=FIRST_BYTE_S,
        )
    )
    try:
        body = await reply.read(MAX_ERROR_BYTES)
    finally:
        reply.close()
    if reply.status in HANDED_ON:
        raise UpstreamFailed(HANDED_ON[reply.status], passage.read_error(reply.status, body), status=reply.status)
    if reply.status != 200:
        return None
    try:
        _COUNTED.decode(body)
    except (ValueError, RecursionError):
        logger.warning("route %s gives no count of tokens", route.key)
        return None
    return body


async def _estimate(request: Request, model: ModelSnapshot, stores: Stores) -> int:
    """By the tokenizer that the catalog names for the model; by bytes, while that one is busy."""
    text_bytes = request.demand.text_bytes
    if stores.counter.is_busy:
        return -(-text_bytes // BYTES_PER_TOKEN)
    return await stores.counter.run(lambda: count_prompt(request, model), size=text_bytes)
