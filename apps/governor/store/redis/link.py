"""One connection of a process to Redis, for commands and messages: what is asked within one tick goes out in one write.

hiredis parses and packs in C, replies come in order, messages arrive as RESP3 pushes on the same connection: 7 to 10 µs
of CPU a command, where a pool of redis-py's connections takes 75 to 95.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import hiredis
from redis.asyncio.connection import SSLConnection, parse_url

from apps.governor.store.redis.scripts import Script

logger = logging.getLogger(__name__)

DEADLINE_S: Final = 0.1
"""A reply that takes longer is not waited for: whoever asked goes another way."""
DOUBT_S: Final = 0.002
"""How long after its deadline a reply is looked for once more."""
HANGING_S: Final = 5.0
"""A connection whose oldest reply is this late is given up, and made anew."""
CONNECT_S: Final = 2.0
MAX_PENDING: Final = 10_000
"""Commands without a reply. More are refused: Redis is slower than we are."""
RETRY_S: Final = (0.05, 1.0)
"""Pause before the next attempt to connect: doubled from the first to the second, each with jitter."""
AWAY: Final = (
    "OOM", "READONLY", "LOADING", "BUSY", "MASTERDOWN", "NOREPLICAS", "MISCONF", "CLUSTERDOWN", "UNKILLABLE", "NOAUTH",
    "NOPERM", "WRONGPASS",
)  # fmt: skip
"""Errors of a server that is there and cannot serve: no different from one that is away."""
TRIAL: Final = ("SET", "hypereal:trial", 1, "PX", 1_000)
"""What a server must take before it counts as there: one that is full, or a replica, still answers reads."""

Part = bytes | str | int


class LinkDown(Exception):
    """Redis is away, too slow, or cannot serve. Whether the command was carried out is not known."""


@dataclass(slots=True, eq=False)
class _Pending:
    """A command on its way. `reply` None: nobody waits for it."""

    sent_at: float
    reply: asyncio.Future[Any] | None
    script: Script | None
    tail: tuple[Part, ...]
    """What follows the script's digest, to send it again with its text."""


class Link:
    """Commands and messages over one connection, which is made anew for as long as `stop` is not called.

    `is_up` tells whether it is worth asking: it is not while there is no connection, nor while a reply is overdue. The
    overdue reply itself, once it comes, is the proof that the server is well again.
    """

    def __init__(self, url: str) -> None:
        self._place: dict[str, Any] = dict(parse_url(url))
        self.deadline_s = DEADLINE_S
        self.asked = 0
        """Commands sent since the start."""
        self.database: int = self._place.get("db", 0)
        self.on_up: list[Callable[[], None]] = []
        """Called after each connection that was made: what a restarted server has forgotten is told again."""
        self._listeners: dict[bytes, Callable[[bytes], None]] = {}
        self._pending: deque[_Pending] = deque()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._lost: asyncio.Event | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_watched = False
        self._is_greeted = False
        """The server took our greetings: before that nobody but these may ask it anything."""
        self._is_late = False
        self._is_doubted = False
        self._was_told = False

    @property
    def is_up(self) -> bool:
        return self._is_greeted and not self._is_late

    async def start(self) -> None:
        """Return once connected, or once that failed for the first time: then it goes on in the background."""
        self._loop = asyncio.get_running_loop()
        first = asyncio.Event()
        self._keeper = asyncio.create_task(self._keep(first), name="redis link")
        await first.wait()

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._transport is not None:
            self._flush()
            self._transport.close()
            self._transport = None
        self._is_greeted = False
        self._fail_pending()

    def call(self, script: Script, keys: Sequence[Part], args: Sequence[Part]) -> asyncio.Future[Any]:
        """Run a script; the future has its reply. Fails with LinkDown, or with the script's own error."""
        assert self._loop is not None
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._send(reply, script, (len(keys), *keys, *args))
        return reply

    def tell(self, script: Script, keys: Sequence[Part], args: Sequence[Part]) -> None:
        """Run a script and wait for nothing."""
        self._send(None, script, (len(keys), *keys, *args))

    def command(self, *parts: Part) -> asyncio.Future[Any]:
        assert self._loop is not None
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._send(reply, None, parts)
        return reply

    def subscribe(self, channel: str, on_message: Callable[[bytes], None]) -> None:
        """Have what is published there handed over, on this connection and on all that follow."""
        self._listeners[channel.encode()] = on_message
        if self._transport is not None:
            self._write(_pack(("SUBSCRIBE", channel)))

    def _send(self, reply: asyncio.Future[Any] | None, script: Script | None, tail: tuple[Part, ...]) -> None:
        if self.is_up and len(self._pending) < MAX_PENDING:
            self._send_now(reply, script, tail)
        elif reply is not None:
            reply.set_exception(LinkDown("Redis is away"))

    def _send_now(self, reply: asyncio.Future[Any] | None, script: Script | None, tail: tuple[Part, ...]) -> None:
        assert self._loop is not None
        self.asked += 1
        self._pending.append(_Pending(self._loop.time(), reply, script, tail if script is not None else ()))
        head: tuple[Part, ...] = () if script is None else ("EVALSHA", script.sha)
        self._write(_pack(head + tail))
        if not self._is_watched:
            self._watch_in(self.deadline_s)

    def _write(self, data: bytes) -> None:
        if not self._out:
            assert self._loop is not None
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _watch_in(self, seconds: float) -> None:
        assert self._loop is not None
        self._is_watched = True
        self._loop.call_later(seconds, self._watch)

    def _watch(self) -> None:
        """One timer for all commands: replies come in order, so the oldest is the latest."""
        self._is_watched = False
        if not self._pending or self._transport is None:
            return
        assert self._loop is not None
        age_s = self._loop.time() - self._pending[0].sent_at
        if age_s >= HANGING_S:
            self._transport.abort()
            return
        if age_s >= self.deadline_s and not self._is_late and not self._is_doubted:
            # Where it was this process that stood still, timers come before what it has not read yet.
            self._is_doubted = True
            self._watch_in(DOUBT_S)
            return
        self._is_doubted = False
        if age_s >= self.deadline_s:
            self._is_late = True
            # Their places stay: the replies that come for them are what ends this.
            for pending in self._pending:
                _fail(pending, "Redis takes too long")
        self._watch_in(self.deadline_s if self._is_late else self.deadline_s - age_s)

    def received(self, reply: Any) -> None:
        """Take the next thing that the server said."""
        if isinstance(reply, hiredis.PushNotification):
            if reply[0] == b"message" and (listener := self._listeners.get(reply[1])) is not None:
                listener(reply[2])
            return
        pending = self._pending.popleft()
        if isinstance(reply, hiredis.ReplyError):
            reply = self._understood(pending, reply)
            if reply is None:
                return
        if self._is_late and not any(each.reply is not None and each.reply.done() for each in self._pending):
            self._is_late = False
        if isinstance(reply, LinkDown) and self._transport is not None:
            # It goes on as if the connection had broken: the next one is made when the server takes writes again.
            self._is_greeted = False
            self._transport.abort()
        waiting = pending.reply
        if waiting is None or waiting.done():
            if isinstance(reply, Exception):
                self._tell_once(reply)
        elif isinstance(reply, Exception):
            waiting.set_exception(reply)
        else:
            waiting.set_result(reply)

    def _understood(self, pending: _Pending, error: hiredis.ReplyError) -> Exception | None:
        """What an error means to whoever asked; None where it was asked again, with the script's text."""
        told = str(error)
        if told.startswith("NOSCRIPT") and pending.script is not None:
            assert self._loop is not None
            script, pending.script = pending.script, None
            pending.sent_at = self._loop.time()
            self._pending.append(pending)
            self._write(_pack(("EVAL", script.text, *pending.tail)))
            return None
        return LinkDown(told) if told.startswith(AWAY) else error

    def _tell_once(self, error: Exception) -> None:
        if not self._was_told:
            self._was_told = True
            logger.error("Redis refused a command that nobody waited for: %s", error)

    async def _keep(self, first: asyncio.Event) -> None:
        """Connect, wait for the connection to be lost, and so on."""
        pause_s = RETRY_S[0]
        is_told = False
        while True:
            self._lost = asyncio.Event()
            try:
                async with asyncio.timeout(CONNECT_S):
                    await self._connect()
            except (OSError, TimeoutError, LinkDown, hiredis.HiredisError, ssl.SSLError) as error:
                if not is_told:
                    logger.error("Redis cannot be reached (%s): limits are kept in each process meanwhile", error)
                is_told = True
                self._drop()
                first.set()
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(pause_s * 2, RETRY_S[1])
                continue
            if is_told:
                logger.info("Redis is back")
            pause_s, is_told, self._was_told = RETRY_S[0], False, False
            first.set()
            await self._lost.wait()
            self._drop()

    async def _connect(self) -> None:
        """Raises: OSError, LinkDown (refused by the server)."""
        assert self._loop is not None
        assert self._lost is not None
        place, lost = self._place, self._lost
        if "path" in place:
            transport, _ = await self._loop.create_unix_connection(lambda: _Wire(self, lost), place["path"])
        else:
            host, port = place.get("host", "localhost"), place.get("port", 6379)
            secure = _tls(place) if place.get("connection_class") is SSLConnection else None
            transport, _ = await self._loop.create_connection(lambda: _Wire(self, lost), host, port, ssl=secure)
        self._transport = transport
        self._is_late = False
        hello: tuple[Part, ...] = ("HELLO", "3")
        if place.get("password"):
            hello = (*hello, "AUTH", place.get("username") or "default", place["password"])
        greetings: list[tuple[Part, ...]] = [hello, ("SELECT", self.database), TRIAL]
        replies = [self._loop.create_future() for _ in greetings]
        for reply, greeting in zip(replies, greetings, strict=True):
            self._send_now(reply, None, greeting)
        try:
            await asyncio.gather(*replies)
        except hiredis.ReplyError as error:
            raise LinkDown(str(error)) from None
        # Nothing is awaited until all were told, so nobody asks before them.
        self._is_greeted = True
        if self._listeners:
            self._write(_pack(("SUBSCRIBE", *self._listeners)))
        for tell in self.on_up:
            try:
                tell()
            except Exception:
                # The others must hear of it, and the connection be kept, all the same.
                logger.exception("what was to be told to Redis could not be")

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        self._is_greeted = False
        self._fail_pending()

    def _fail_pending(self) -> None:
        self._out.clear()
        self._is_late = False
        while self._pending:
            _fail(self._pending.popleft(), "the connection to Redis broke")


class _Wire(asyncio.Protocol):
    """One connection: bytes in, replies out."""

    def __init__(self, link: Link, lost: asyncio.Event) -> None:
        self._link = link
        self._lost = lost
        self._reader = hiredis.Reader(notEnoughData=_MORE)
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not _MORE:
                self._link.received(reply)
        except (hiredis.ProtocolError, IndexError):
            # Not Redis, or more replies than we asked for: nothing that follows can be told apart.
            logger.exception("Redis sent what is no reply")
            assert isinstance(self._transport, asyncio.Transport)
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set()


_MORE: Final = object()


def _pack(parts: tuple[Part, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(parts)  # type: ignore[arg-type]  # its stub knows tuples of one
    return packed


def _fail(pending: _Pending, why: str) -> None:
    if pending.reply is not None and not pending.reply.done():
        pending.reply.set_exception(LinkDown(why))


def _tls(place: dict[str, Any]) -> ssl.SSLContext:
    """As redis-py reads it from an address: `rediss://…?ssl_cert_reqs=none&ssl_ca_certs=…`."""
    context = ssl.create_default_context(cafile=place.get("ssl_ca_certs"))
    if str(place.get("ssl_cert_reqs", "required")) == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
