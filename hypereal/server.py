"""One web process: uvicorn on a socket that is already bound, with our bounds (see http_protocol.py)."""

from __future__ import annotations

import resource
import signal
import socket
from types import FrameType
from typing import Final

import uvicorn

from hypereal.environment import Environment
from hypereal.http_protocol import MAX_CONNECTIONS, BoundedHttpProtocol

APPLICATION: Final = "hypereal.asgi:application"
KEEP_ALIVE_S: Final = 75
GRACE_S: Final = 30
"""How long open streams may go on after we were asked to stop."""
BACKLOG: Final = 2048
SPARE_FILES: Final = 128
"""Kept back for stores, logs and libraries when connections are counted against the file limit."""
FILES_PER_CONNECTION: Final = 2
"""A caller's and the upstream's."""
WS_MAX_BYTES: Final = 64 * 1024
"""Live views send a subscription or two, never data."""


class Server(uvicorn.Server):
    """uvicorn's server; a stop that was asked for is a success, so the signal is not raised again afterwards."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def bind(host: str, port: int) -> socket.socket:
    """Bind and listen, so that the port is ours before anything else happens; early callers wait in the backlog.

    Raises: OSError, where the address is taken, foreign or unknown.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def connection_limit() -> int:
    """Raise this process's soft file limit to its hard one; return how many connections fit in it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS * FILES_PER_CONNECTION + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, (soft - SPARE_FILES) // FILES_PER_CONNECTION))


def configure(environment: Environment, *, application: str = APPLICATION) -> uvicorn.Config:
    """uvicorn's settings. The caller's address is taken from forwarding headers only behind proxies that are named."""
    protocol = type("HttpProtocol", (BoundedHttpProtocol,), {"max_connections": connection_limit()})
    return uvicorn.Config(
        application,
        loop="uvloop",
        http=protocol,
        ws="websockets-sansio",
        ws_max_size=WS_MAX_BYTES,
        ws_per_message_deflate=False,
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(environment.trusted_proxies),
        forwarded_allow_ips=list(environment.trusted_proxies),
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        backlog=BACKLOG,
    )


def serve(environment: Environment, listener: socket.socket, *, application: str = APPLICATION) -> bool:
    """Serve until a signal stops it and its streams have ended; False where the application did not start."""
    server = Server(configure(environment, application=application))
    try:
        server.run(sockets=[listener])
    except SystemExit:  # uvicorn has logged why
        return False
    return server.started
