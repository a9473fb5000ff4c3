"""A TCP proxy that does to connections what networks do: delay, cut, reset, swallow.

It runs in a thread with a loop of its own; tests change its `Behaviour` while it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

CHUNK: Final = 65_536
NO_LINGER: Final = struct.pack("ii", 1, 0)


class Verdict(Enum):
    """What becomes of bytes that a client, or the server, has sent."""

    PASS = "pass"
    RESET = "reset"
    """They are lost, and both ends find their connection reset."""
    PASS_THEN_RESET = "pass, then reset"
    """They arrive; whatever would come back does not."""
    PASS_THEN_SWALLOW = "pass, then swallow"
    """They arrive, and from then on nothing does, in either direction: nobody is told."""
    HALF_CLOSE = "half-close"
    """They arrive, and it looks as if their sender had no more to say."""


Judge = Callable[[bytes], Verdict]


def let_all_pass(_: bytes) -> Verdict:
    return Verdict.PASS


@dataclass(slots=True)
class Behaviour:
    """Asked for each chunk, in the proxy's thread."""

    to_server: Judge = let_all_pass
    to_client: Judge = let_all_pass
    delay_s: float = 0.0
    """Each way."""
    refuses: bool = False
    """New connections are reset."""


class CutAtByte:
    """Lets so many bytes of all connections together pass, and resets the connection that carries the next."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._lock = threading.Lock()

    def __call__(self, data: bytes) -> Verdict:
        with self._lock:
            self._left -= len(data)
            return Verdict.PASS if self._left >= 0 else Verdict.RESET


class Proxy:
    """One port in front of another on this machine."""

    def __init__(self, target_port: int) -> None:
        self.behaviour = Behaviour()
        self.connections = 0
        """Accepted so far."""
        self.resets = 0
        self._target_port = target_port
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._accept, "127.0.0.1", 0)).result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def reset_all(self) -> None:
        """Cut every connection that is open now."""

        async def reset() -> None:
            for link in list(self._links):
                link.reset()

        self._run(reset()).result(10)

    def close(self) -> None:
        async def stop() -> None:
            self._server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._run(stop()).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.behaviour.refuses:
            _reset(writer)
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            _reset(writer)
            return
        link = _Link(self, writer, up_writer)
        self._links.add(link)
        try:
            await asyncio.gather(
                link.pump(reader, up_writer, lambda: self.behaviour.to_server),
                link.pump(up_reader, writer, lambda: self.behaviour.to_client),
            )
        except asyncio.CancelledError:
            pass  # the proxy is closed
        finally:
            self._links.discard(link)
            for one in (writer, up_writer):
                one.close()


class _Link:
    """One client's connection and its counterpart."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._writers = (client, server)
        self._is_silent = False

    def reset(self) -> None:
        self._proxy.resets += 1
        for writer in self._writers:
            _reset(writer)

    async def pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, judge: Callable[[], Judge]
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if self._is_silent:
                    continue
                if self._proxy.behaviour.delay_s:
                    await asyncio.sleep(self._proxy.behaviour.delay_s)
                verdict = judge()(data)
                if verdict is Verdict.RESET:
                    self.reset()
                    return
                writer.write(data)
                await writer.drain()
                if verdict is Verdict.PASS_THEN_RESET:
                    self._proxy.resets += 1
                    self._is_silent = True
                    _reset(self._writers[0])
                    # The server reads what came before it learns that nobody is there.
                    self._writers[1].close()
                    return
                if verdict is Verdict.PASS_THEN_SWALLOW:
                    self._is_silent = True
                if verdict is Verdict.HALF_CLOSE:
                    break
            if writer.can_write_eof() and not writer.transport.is_closing():
                writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST: what was not read yet is gone."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    writer.transport.abort()


@contextmanager
def own_proxy(target_port: int) -> Iterator[Proxy]:
    proxy = Proxy(target_port)
    try:
        yield proxy
    finally:
        proxy.close()
