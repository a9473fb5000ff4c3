"""`/v1/*`: which path is which dialect, and the edge where every failure becomes one answer."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from apps.core.errors import GatewayError
from apps.dialects.protocol import Dialect
from apps.dialects.registry import BY_ENDPOINT
from apps.gateway import listing, respond
from apps.gateway.call import Call, Message, NotFound, Receive, Scope, Send, read_head
from apps.gateway.guard import CallerLeft, throw_away_body
from apps.gateway.identify import identify, read_client
from apps.gateway.pipeline import serve
from apps.gateway.running import STOPPED
from apps.gateway.stores import Stores
from apps.governor.store.protocol import CallerGone
from apps.keys.rules import check_key

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
MODEL_PATHS: Final = ("/v1/managed/models", "/v1/models")
LISTED: Final = ", ".join([*(f"POST {path}" for path in MANAGED_PATHS), *(f"GET {path}" for path in MODEL_PATHS)])


class WrongMethod(GatewayError):
    """The path is there, but not for this method."""

    def __init__(self, allowed: str) -> None:
        super().__init__("method_not_allowed", f"This endpoint takes {allowed} only.")
        self.allowed = allowed


async def gateway(scope: Scope, receive: Receive, send: Send, stores: Stores) -> None:
    """Answer one request under `/v1`."""
    dialect = MANAGED_PATHS.get(scope["path"])
    call = read_head(scope, dialect=dialect)
    try:
        if dialect is not None:
            if call.method != "POST":
                raise WrongMethod("POST")
            await serve(call, dialect, receive, send, stores)
        elif call.path in MODEL_PATHS:
            await _list_models(call, send, stores)
        else:
            call.is_anthropic = call.is_anthropic or "/messages" in call.path
            raise NotFound("not_found", f"There is no {call.path} here. The endpoints are: {LISTED}.")
    except GatewayError as error:
        await _refuse(call, error, receive, send)
    except (CallerLeft, CallerGone):
        return
    except asyncio.CancelledError:
        # Nothing but a server whose time to stop is over cancels a call. Was it billed by then? The usage log tells.
        if call.is_answered:
            raise
        await _refuse(call, GatewayError("internal_error", STOPPED), receive, send)
    except Exception:
        logger.exception("%s failed", call.request_name)
        failure = GatewayError("internal_error", "The gateway failed. This was logged; the call was not charged.")
        await _refuse(call, failure, receive, send)


async def refuse_websocket(scope: Scope, send: Send) -> None:
    """Answer a websocket's handshake under `/v1` with 426: agents that try one then fall back to plain requests."""

    async def send_in_its_stead(message: Message) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    call = read_head({**scope, "method": "GET"}, dialect=MANAGED_PATHS.get(scope["path"]))
    error = GatewayError("websocket_unsupported", "There are no websockets here. Send a plain HTTP request.")
    await respond.send_error(send_in_its_stead, call, error)


async def _list_models(call: Call, send: Send, stores: Stores) -> None:
    if call.method not in {"GET", "HEAD"}:
        raise WrongMethod("GET, HEAD")
    key = await identify(call, stores)
    check_key(key, client=read_client(call), now=call.received_at)
    models = [model for model in stores.catalog.all() if not key.allowed_models or model.model_id in key.allowed_models]
    is_anthropic = call.is_anthropic and call.path == "/v1/models"
    body = listing.anthropic_list(models) if is_anthropic else listing.openai_list(models)
    head = [respond.JSON, *respond.request_headers(call)]
    await respond.send_reply(send, status=200, head=head, body=b"" if call.method == "HEAD" else body)


async def _refuse(call: Call, error: GatewayError, receive: Receive, send: Send) -> None:
    """Answer with an error. Where a body may still be coming, let its sender read the answer before we close."""
    extra = [(b"allow", error.allowed.encode())] if isinstance(error, WrongMethod) else []
    may_be_sending = call.method == "POST" and (
        b"transfer-encoding" in call.headers or call.headers.get(b"content-length", b"0") != b"0"
    )
    if not may_be_sending or call.body_is_read:
        await respond.send_error(send, call, error, extra=extra)
        return
    await respond.send_error(send, call, error, extra=[*extra, respond.CLOSE], more=True)
    await throw_away_body(receive)
    await send({"type": "http.response.body", "body": b""})
