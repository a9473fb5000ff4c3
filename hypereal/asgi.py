"""One socket, three doors: `/v1/*` to the gateway, websockets to Channels, the rest to Django."""

from __future__ import annotations

import os
from typing import Any, Final

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hypereal.settings")

import django

# Before anything that reads models or settings is imported.
django.setup(set_prefix=False)

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator, WebsocketDenier  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.urls import path, re_path  # noqa: E402

from apps.console.capacity.consumer import CapacityConsumer  # noqa: E402
from apps.gateway.call import Message, Receive, Scope, Send  # noqa: E402
from apps.gateway.endpoints import gateway, refuse_websocket  # noqa: E402
from hypereal.wiring import Wiring  # noqa: E402

EMPTY_HEAD: Final[Message] = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
EMPTY_BODY: Final[Message] = {"type": "http.response.body", "body": b""}


class Application:
    """The ASGI application of one process."""

    def __init__(self) -> None:
        self._django: Any = ASGIHandler()
        self._websockets: Any = AllowedHostsOriginValidator(
            AuthMiddlewareStack(
                URLRouter(
                    [
                        path("ws/capacity/", CapacityConsumer.as_asgi()),
                        # What leads nowhere is refused, not raised.
                        re_path("", WebsocketDenier.as_asgi()),
                    ]
                )
            )
        )
        self._wiring: Wiring | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            place: str = scope["path"]
            if place.startswith("/v1/") or place == "/v1":
                assert self._wiring is not None, "the server must run the lifespan protocol"
                await gateway(scope, receive, send, self._wiring.stores)
            elif place == "/" and scope["method"] == "HEAD":
                # What coding agents knock with, before they send a key.
                await send(EMPTY_HEAD)
                await send(EMPTY_BODY)
            else:
                await self._django(scope, receive, send)
        elif kind == "websocket":
            if scope["path"].startswith("/v1/"):
                await refuse_websocket(scope, send)
            else:
                await self._websockets(scope, receive, send)
        elif kind == "lifespan":
            await self._live(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Open everything before the first request; drain after the last."""
        await receive()
        self._wiring = Wiring(settings.ENVIRONMENT)
        try:
            await self._wiring.start()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": f"hypereal cannot start: {error}"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._wiring.stop()
        await send({"type": "lifespan.shutdown.complete"})


application = Application()
