"""`/v1/*`: which path is which dialect, and the edge where every failure becomes one answer."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from apps.core.errors import GatewayError
from apps.dialects.protocol import Dialect
from apps.dialects.registry import BY_ENDPOINT
from apps.gateway import count_tokens, respond, show_models
from apps.gateway.call import Call, Message, NotFound, Receive, Scope, Send, read_head
from apps.gateway.figures import refusal_headers
from apps.gateway.guard import CallerLeft, throw_away_body
from apps.gateway.pipeline import serve
from apps.gateway.running import STOPPED
from apps.gateway.stores import Stores
from apps.governor.store.protocol import CallerGone

logger = logging.getLogger(__name__)

MANAGED_PATHS: Final[dict[str, Dialect]] = {
    "/v1/managed/chat/completions": BY_ENDPOINT["chat"],
    "/v1/managed/responses": BY_ENDPOINT["responses"],
    "/v1/managed/images/generations": BY_ENDPOINT["images"],
    "/v1/managed/messages": BY_ENDPOINT["messages"],
    "/v1/messages": BY_ENDPOINT["messages"],
    "/v1/chat/completions": BY_ENDPOINT["chat"],
    "/v1/responses": BY_ENDPOINT["responses"],
    "/v1/images/generations": BY_ENDPOINT["images"],
}
LISTED: Final = ", ".join(
    [
        *(f"POST {path}" for path in (*MANAGED_PATHS, *count_tokens.PATHS)),
        *(f"GET {path}" for path in (*show_models.PATHS, *(f"{path}{{id}}" for path in show_models.ONE))),
    ]
)


class WrongMethod(GatewayError):
    """The path is there, but not for this method."""

    def __init__(self, allowed: str) -> None:
        super().__init__("method_not_allowed", f"This endpoint takes {allowed} only.")
        self.allowed = allowed


def dialect_of(path: str) -> Dialect | None:
    """What is spoken on this path; None where it is no call."""
    return BY_ENDPOINT["messages"] if path in count_tokens.PATHS else MANAGED_PATHS.get(path)


def no_websockets() -> GatewayError:
    return GatewayError("websocket_unsupported", "There are no websockets here. Send a plain HTTP request.")


async def gateway(scope: Scope, receive: Receive, send: Send, stores: Stores) -> None:
    """Answer one request under `/v1`."""
    call = read_head(scope, dialect=dialect_of(scope["path"]))
    try:
        await _answer(call, scope["query_string"], receive, send, stores)
    except GatewayError as error:
        await _refuse(call, error, receive, send, stores)
    except (CallerLeft, CallerGone):
        return
    except asyncio.CancelledError:
        # Nothing but a server whose time to stop is over cancels a call. Was it billed by then? The usage log tells.
        if call.is_answered:
            raise
        await _refuse(call, GatewayError("internal_error", STOPPED), receive, send, stores)
    except Exception:
        logger.exception("%s failed", call.request_name)
        failure = GatewayError("internal_error", "The gateway failed. This was logged; the call was not charged.")
        await _refuse(call, failure, receive, send, stores)


async def _answer(call: Call, query: bytes, receive: Receive, send: Send, stores: Stores) -> None:
    """Raises: GatewayError before anything was sent; CallerLeft, CallerGone where nobody is left to be told."""
    if call.header(b"upgrade").lower() == "websocket":
        raise no_websockets()
    if call.dialect is not None:
        if call.method != "POST":
            raise WrongMethod("POST")
        if call.path in count_tokens.PATHS:
            await count_tokens.count_tokens(call, receive, send, stores)
        else:
            await serve(call, call.dialect, receive, send, stores)
    elif call.path in show_models.PATHS or call.path.startswith(show_models.ONE):
        if call.method not in {"GET", "HEAD"}:
            raise WrongMethod("GET, HEAD")
        await show_models.show(call, query, send, stores)
    else:
        call.is_anthropic = call.is_anthropic or "/messages" in call.path
        raise NotFound("not_found", f"There is no {call.path} here. The endpoints are: {LISTED}.")


async def refuse_websocket(scope: Scope, send: Send) -> None:
    """Answer a websocket's handshake under `/v1` with 426: agents that try one then fall back to plain requests."""

    async def send_in_its_stead(message: Message) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    call = read_head({**scope, "method": "GET"}, dialect=dialect_of(scope["path"]))
    await respond.send_error(send_in_its_stead, call, no_websockets())


async def _refuse(call: Call, error: GatewayError, receive: Receive, send: Send, stores: Stores) -> None:
    """Answer with an error. Where a body may still be coming, let its sender read the answer before we close."""
    extra = refusal_headers(call, error, stores.governor)
    if isinstance(error, WrongMethod):
        extra.append((b"allow", error.allowed.encode()))
    if b"upgrade" in call.headers:
        # What follows a handshake is no request.
        extra.append(respond.CLOSE)
    may_be_sending = call.method == "POST" and (
        b"transfer-encoding" in call.headers or call.headers.get(b"content-length", b"0") != b"0"
    )
    if not may_be_sending or call.body_is_read:
        await respond.send_error(send, call, error, extra=extra)
        return
    await respond.send_error(send, call, error, extra=[*extra, respond.CLOSE], more=True)
    await throw_away_body(receive)
    await send({"type": "http.response.body", "body": b""})
