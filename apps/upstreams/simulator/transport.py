"""The simulator behind the gateway's transport seam: no socket, the same replies and the same failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from apps.upstreams.simulator.core import Simulator
from apps.upstreams.simulator.reply import SimulatedCut, SimulatedReply
from apps.upstreams.transport.protocol import (
    UpstreamBroken,
    UpstreamCall,
    UpstreamReply,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from apps.upstreams.transport.switch import SIMULATOR_SCHEME


class SimulatorTransport:
    """Answers `simulator:/v1/chat/completions` and its like in this process."""

    def __init__(self, simulator: Simulator | None = None) -> None:
        self._simulator = simulator or Simulator()

    async def open(self) -> None:
        """Nothing to open."""

    async def send(self, call: UpstreamCall) -> UpstreamReply:
        if not call.url.startswith(SIMULATOR_SCHEME):
            raise UpstreamUnreachable("the simulator is not at that address")
        headers = {name.lower(): value for name, value in call.headers.items()}
        plan = self._simulator.plan("POST", call.url.removeprefix(SIMULATOR_SCHEME), headers, call.body)
        if plan.delay_s >= call.first_byte_timeout_s:
            await asyncio.sleep(call.first_byte_timeout_s)
            raise UpstreamTimeout("the upstream sent nothing in time")
        if plan.delay_s:
            await asyncio.sleep(plan.delay_s)
        return _Reply(plan.reply)

    async def close(self) -> None:
        """Nothing to close."""


class _Reply:
    def __init__(self, reply: SimulatedReply) -> None:
        self.status = reply.status
        self.headers: Mapping[str, str] = reply.headers
        self._body = reply.body
        self._is_closed = False

    async def read(self, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in self.chunks():
            size += len(part)
            if size > limit:
                raise UpstreamTooLarge("the upstream's reply is too large")
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        if isinstance(self._body, bytes):
            yield self._body
            return
        try:
            async for chunk in self._body:
                yield chunk
                if self._is_closed:
                    raise UpstreamBroken("the connection was closed")
        except SimulatedCut:
            raise UpstreamBroken("the upstream's reply ended early") from None

    def close(self) -> None:
        self._is_closed = True
