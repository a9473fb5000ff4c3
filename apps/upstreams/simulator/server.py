"""The simulator as an ASGI application of its own, for SDKs and gateways that want a socket to talk to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from apps.upstreams.simulator.core import Simulator
from apps.upstreams.simulator.reply import SimulatedCut

MAX_BODY_BYTES: Final = 64 * 1024 * 1024

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class _HungUp(Exception):
    """The caller went away, or sends more than is taken."""


def application(simulator: Simulator) -> Application:
    """An ASGI application (HTTP only) that serves one simulator."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            body = await _read(receive)
        except _HungUp:
            return
        reply = await simulator.handle(scope["method"], scope["path"], headers, body)
        sent = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
        if isinstance(reply.body, bytes):
            sent.append((b"content-length", str(len(reply.body)).encode()))
            await send({"type": "http.response.start", "status": reply.status, "headers": sent})
            await send({"type": "http.response.body", "body": reply.body})
            return
        await send({"type": "http.response.start", "status": reply.status, "headers": sent})
        try:
            async for chunk in reply.body:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except SimulatedCut:
            # Leaving without an end makes the server close the connection: the caller sees a reply that breaks off.
            return
        await send({"type": "http.response.body", "body": b""})

    return serve


async def _read(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _HungUp
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise _HungUp
        if not message.get("more_body"):
            return b"".join(parts)
