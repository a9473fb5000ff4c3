"""The one transport that the gateway holds: real providers over HTTP, `simulator:` URLs in this process."""

from __future__ import annotations

from typing import Final

from apps.upstreams.transport.protocol import Transport, UpstreamCall, UpstreamReply

SIMULATOR_SCHEME: Final = "simulator:"


class SwitchTransport:
    """Hands each call to the transport that its URL asks for."""

    def __init__(self, *, http: Transport, simulator: Transport) -> None:
        self._http = http
        self._simulator = simulator

    async def open(self) -> None:
        await self._simulator.open()
        await self._http.open()

    async def send(self, call: UpstreamCall) -> UpstreamReply:
        transport = self._simulator if call.url.startswith(SIMULATOR_SCHEME) else self._http
        return await transport.send(call)

    async def close(self) -> None:
        await self._http.close()
        await self._simulator.close()
