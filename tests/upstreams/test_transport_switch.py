"""One transport for the gateway: the URL says who answers."""

from __future__ import annotations

import json

from apps.upstreams.simulator import Simulator, SimulatorTransport
from apps.upstreams.simulator.server import application
from apps.upstreams.transport.http import HttpTransport
from apps.upstreams.transport.protocol import UpstreamCall
from apps.upstreams.transport.switch import SwitchTransport
from tests.upstreams.asking import chat, quick
from tests.upstreams.serving import serving


async def test_both_ways_give_the_same_reply() -> None:
    transport = SwitchTransport(http=HttpTransport(), simulator=SimulatorTransport(quick()))
    await transport.open()
    told = []
    async with serving(application(Simulator(ttfb_ms=0, chunk_ms=0))) as root:
        for base in (f"{root}/v1", "simulator:/v1"):
            headers = {"Content-Type": "application/json"}
            call = UpstreamCall(f"{base}/chat/completions", headers, json.dumps(chat("Hello")).encode(), 2.0, 5.0)
            reply = await transport.send(call)
            assert (reply.status, reply.headers["x-simulator"]) == (200, "hypereal")
            body = json.loads(await reply.read(100_000))
            reply.close()
            told.append((body["choices"], body["usage"]))
        await transport.close()
    assert told[0] == told[1]
