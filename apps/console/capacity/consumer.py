"""`/ws/capacity/`: the live figures, for operators who are signed in at the same site."""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import urlsplit

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from apps.console.capacity.live import VIEWERS, Outbox

MAX_VIEW_S: Final = 900
"""Then the page connects anew, and whoever is no operator any more is refused."""
COME_BACK: Final = 4000
FULL: Final = 4001
"""Codes of closing, which the page's script knows."""


class CapacityConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """Sends what `live` has; what a viewer says is not listened to."""

    async def connect(self) -> None:
        self._outbox: Outbox | None = None
        self._telling: asyncio.Task[None] | None = None
        if not (is_same_site(self.scope) and is_operator(self.scope["user"])):
            await self.close()  # before it is accepted: HTTP 403
            return
        await self.accept()
        self._outbox = VIEWERS.join()
        if self._outbox is None:
            await self.close(FULL)
            return
        self._telling = asyncio.create_task(self._tell_forever(self._outbox), name="capacity viewer")

    async def disconnect(self, code: int) -> None:
        if self._outbox is not None:
            VIEWERS.leave(self._outbox)
        if self._telling is not None:
            self._telling.cancel()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Nothing is asked here."""

    async def _tell_forever(self, outbox: Outbox) -> None:
        try:
            async with asyncio.timeout(MAX_VIEW_S):
                while (message := await outbox.get()) is not None:
                    await self.send(text_data=message)
        except TimeoutError:
            pass
        VIEWERS.leave(outbox)
        await self.close(COME_BACK)


def is_operator(user: Any) -> bool:
    return bool(user.is_active and user.is_staff)


def is_same_site(scope: dict[str, Any]) -> bool:
    """Whether a page of this very site asks, as Django's CSRF check sees it: another port of the same host is another
    site, though its browser sends the same cookies."""
    headers = dict(scope["headers"])
    origin, host = headers.get(b"origin", b"").decode("latin-1"), headers.get(b"host", b"").decode("latin-1")
    return bool(host) and (urlsplit(origin).netloc == host or origin in settings.CSRF_TRUSTED_ORIGINS)
