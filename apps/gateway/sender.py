"""The caller's end of a stream: the head, what is said, and keep-alives where nothing is."""

from __future__ import annotations

import asyncio

from apps.core import clock
from apps.core.errors import GatewayError
from apps.dialects.protocol import StreamRelay
from apps.gateway import log, respond
from apps.gateway.call import Send
from apps.gateway.forward import Forwarded
from apps.gateway.running import Running, release, reply_headers
from apps.gateway.stores import Stores
from apps.gateway.watch import Watch
from apps.gateway.ways import Way


class Sender:
    """Sends the head with the first bytes, so that a call which fails before them can still be a plain error."""

    def __init__(self, running: Running, send: Send, stores: Stores) -> None:
        self.has_begun = False
        """The head went out."""
        self.has_spoken = False
        """Something of an answer went out: no other upstream may be asked any more."""
        self.watch = Watch(heard_at=running.call.started, ping=self._ping)
        self._answered_by: Forwarded | Way = running.permit.way
        self._machine: StreamRelay | None = None
        self._pinging: asyncio.Task[None] | None = None
        self._running = running
        self._send = send
        self._stores = stores

    def answers(self, forwarded: Forwarded, machine: StreamRelay) -> None:
        """Whose answer it is from now on."""
        self._answered_by, self._machine = forwarded, machine

    async def part(self, data: bytes) -> None:
        if self._pinging is not None:
            await self._end_ping()
        if not self.has_spoken:
            await self._speak()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes) -> None:
        """Send the last bytes. Raises: CallerLeft, where they are not taken."""
        if not self.has_spoken:
            await self._speak()
        await respond.send_patiently(self._send, {"type": "http.response.body", "body": data})

    async def fail(self, failure: GatewayError) -> int:
        """The call failed after its head went out: nothing is charged, and the stream ends with an error event.

        Returns the tokens it used: none.
        """
        self.hush()
        release(self._running, failure, self._stores)
        event = self._told_by().fail(failure, request_id=self._running.call.request_name)
        await respond.send_patiently(self._send, {"type": "http.response.body", "body": event})
        return 0

    def hush(self) -> None:
        """No keep-alive may come after what ends the reply."""
        if self._pinging is not None:
            self._pinging.cancel()
            self._pinging = None

    def close(self) -> None:
        self.watch.stop()
        self.hush()

    def _ping(self) -> None:
        """Send a keep-alive beside the call, which is waiting for its upstream meanwhile."""
        if self._pinging is None or self._pinging.done():
            self._pinging = asyncio.create_task(self._keep_alive())

    async def _keep_alive(self) -> None:
        if not self.has_begun:
            await self._begin()
        await self._send({"type": "http.response.body", "body": self._told_by().ping(), "more_body": True})

    async def _end_ping(self) -> None:
        """Let a keep-alive out first: the caller may be slow to take it."""
        if self._pinging is not None:
            await asyncio.wait({self._pinging})
            self._pinging = None

    def _told_by(self) -> StreamRelay:
        """What writes in the caller's dialect: before any upstream answered, a stream that says nothing."""
        return self._machine or self._running.permit.way.passage.relay(model_id=self._running.permit.model.model_id)

    async def _speak(self) -> None:
        if not self.has_begun:
            await self._begin()
        self.has_spoken = True
        record = self._running.record
        record.first_byte_ms = log.milliseconds(clock.monotonic() - self._running.call.started)

    async def _begin(self) -> None:
        head = [
            respond.EVENT_STREAM,
            respond.NO_CACHE,
            respond.NO_BUFFERING,
            *reply_headers(self._running, self._answered_by, self._stores),
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": head})
        self.has_begun = self._running.call.is_answered = True
