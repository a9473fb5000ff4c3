"""A load generator that costs little: raw sockets, one request in flight on each, a fixed number of calls."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import cast


@dataclass(slots=True)
class Load:
    """What came of a run."""

    calls: int
    expected: bytes = b"HTTP/1.1 200"
    """How a good reply begins."""
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    bad: list[bytes] = field(default_factory=list)

    def percentile(self, percent: int) -> float:
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


class _Client(asyncio.Protocol):
    def __init__(self, request: bytes, load: Load, left: list[int], done: asyncio.Event) -> None:
        self.request = request
        self.load = load
        self.left = left
        self.done = done
        self.buffer = b""
        self.began_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.next()

    def next(self) -> None:
        if self.left[0] <= 0:
            self.transport.close()
            return
        self.left[0] -= 1
        self.began_at = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        at = head.find(b"content-length: ")
        if at >= 0:
            stop = head.find(b"\r\n", at)
            length = int(head[at + 16 : stop if stop > 0 else None])
            if len(self.buffer) < end + 4 + length:
                return
        elif not self.buffer.endswith(b"0\r\n\r\n"):
            return
        if not self.buffer.startswith(self.load.expected):
            self.load.bad.append(self.buffer)
        self.buffer = b""
        self.load.latencies_ms.append((time.perf_counter() - self.began_at) * 1000)
        if len(self.load.latencies_ms) == self.load.calls:
            self.done.set()
        self.next()


async def run(*, port: int, request: bytes, calls: int, connections: int, status: int = 200) -> Load:
    """Make `calls` requests over `connections` sockets, at most for two minutes; `status` is what they are to get."""
    load, left, done = Load(calls, b"HTTP/1.1 %d" % status), [calls], asyncio.Event()
    loop = asyncio.get_running_loop()
    began_at = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: _Client(request, load, left, done), "127.0.0.1", port)
    await asyncio.wait_for(done.wait(), timeout=60)
    load.seconds = time.perf_counter() - began_at
    return load
