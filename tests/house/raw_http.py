"""A server of ours on a loopback socket in a thread, a tiny application behind it, and sockets that send raw bytes."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from hypereal.environment import Environment
from hypereal.http_protocol import BoundedHttpProtocol
from hypereal.server import Server, bind, configure

STREAMED_EVENTS = 6
EVENT_GAP_S = 0.1


class HastyProtocol(BoundedHttpProtocol):
    """The same bounds with short times."""

    head_s = 0.3
    drain_s = 0.3
    linger_s = 0.3
    leave_s = 0.5
    max_connections = 20


async def application(scope: Any, receive: Any, send: Any) -> None:
    """`/echo` tells what arrived, `/early` refuses before the body, `/stream` takes its time."""
    if scope["type"] == "lifespan":
        for name in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{name}.complete"})
        return
    if scope["path"] == "/early":
        await _reply(send, 401, b"no")
        return
    if scope["path"] == "/stream":
        await _stream(send)
        return
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    told = {
        "path": scope["path"],
        "headers": [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]],
        "client": scope["client"][0],
        "body_bytes": len(body),
    }
    await _reply(send, 200, json.dumps(told).encode())


async def _reply(send: Any, status: int, body: bytes) -> None:
    length = str(len(body)).encode()
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": body})


async def _stream(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for number in range(STREAMED_EVENTS):
        await send({"type": "http.response.body", "body": b"event %d\n" % number, "more_body": True})
        await asyncio.sleep(EVENT_GAP_S)
    await send({"type": "http.response.body", "body": b"the end\n"})


@contextmanager
def served(environment: Environment, *, protocol: type[BoundedHttpProtocol] = HastyProtocol) -> Iterator[int]:
    """A server in a thread; yields its port."""
    with running(environment, protocol=protocol) as (_, port):
        yield port


@contextmanager
def running(
    environment: Environment, *, protocol: type[BoundedHttpProtocol] = HastyProtocol
) -> Iterator[tuple[uvicorn.Server, int]]:
    """The same, to be stopped by the test: `should_exit` is what a signal sets."""
    listener = bind("127.0.0.1", 0)
    config = configure(environment, application="tests.house.raw_http:application")
    config.http = protocol
    server: uvicorn.Server = Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    port: int = listener.getsockname()[1]
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield server, port
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive()


class Caller:
    """One connection; `send` bytes, read until the server closes or a whole reply came."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._unread = b""

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def everything(self) -> bytes:
        """All bytes until the server closes."""
        received, self._unread = self._unread, b""
        while part := self.socket.recv(65536):
            received += part
        return received

    def reply(self) -> tuple[int, dict[str, str], bytes]:
        """One reply with a Content-Length; what follows it is kept for the next call."""
        while b"\r\n\r\n" not in self._unread:
            self._receive()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        status, headers = parse_head(head)
        length = int(headers["content-length"])
        while len(self._unread) < length:
            self._receive()
        body, self._unread = self._unread[:length], self._unread[length:]
        return status, headers, body

    def _receive(self) -> None:
        part = self.socket.recv(65536)
        assert part, f"closed after {self._unread!r}"
        self._unread += part


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines if line)
    return int(first.split(" ")[1]), headers
