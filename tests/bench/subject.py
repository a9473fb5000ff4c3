"""What is measured: `gateway` (the product's own web process) or `passthrough` (the same server and client, bare)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from hypereal import server
from hypereal.environment import read

ROOT = Path(__file__).resolve().parent.parent.parent


class Passthrough:
    """Forward the body, return the reply: what no gateway on this server and client can undercut."""

    def __init__(self) -> None:
        from apps.upstreams.transport.http import HttpTransport

        self.transport = HttpTransport()
        self.url = os.environ["BENCH_UPSTREAM"] + "/chat/completions"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await self.transport.open()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self.transport.close()
            await send({"type": "lifespan.shutdown.complete"})
            return
        from apps.upstreams.transport.protocol import UpstreamCall

        message = await receive()
        call = UpstreamCall(self.url, {"content-type": "application/json"}, message["body"], 5, 300)
        reply = await self.transport.send(call)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        async for data in reply.chunks():
            await send({"type": "http.response.body", "body": data, "more_body": True})
        reply.close()
        await send({"type": "http.response.body", "body": b""})


passthrough = Passthrough() if "BENCH_UPSTREAM" in os.environ else None


def main(what: str) -> None:
    environment = read(os.environ, root=ROOT)
    listener = server.bind(environment.host, environment.port)
    application = server.APPLICATION if what == "gateway" else "tests.bench.subject:passthrough"
    server.serve(environment, listener, application=application)


if __name__ == "__main__":
    main(sys.argv[1])
