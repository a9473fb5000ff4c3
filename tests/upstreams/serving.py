"""Real loopback sockets for the tests of this folder."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import uvicorn

from apps.upstreams.simulator.server import Application

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(application: Application) -> AsyncIterator[str]:
    """Serve an ASGI application on a free port; yields its root URL."""
    config = uvicorn.Config(
        application, lifespan="off", ws="none", access_log=False, log_config=None, log_level="critical"
    )
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110  (a flag is all that uvicorn has to tell it)
            await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await running


@asynccontextmanager
async def scripted(handler: Handler) -> AsyncIterator[str]:
    """Serve raw bytes: `handler` gets every connection; yields the root URL."""
    async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def free_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
