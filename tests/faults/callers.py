"""Callers by the hundred: each says what it saw, to be compared with what the upstream did and what the ledger says."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

import aiohttp

from tests.faults.wish import Wish
from tests.flows.endpoints import CHAT, ENDPOINTS, IMAGES, MESSAGES, RESPONSES, TEXT_ENDPOINTS, Endpoint
from tests.flows.rig import Person

CALL_S: Final = 90.0
LAST_EVENTS: Final = {
    CHAT.name: b"data: [DONE]",
    RESPONSES.name: b'"type": "response.completed"',
    MESSAGES.name: b'"message_stop"',
    IMAGES.name: b'"image_generation.completed"',
}
"""What a caller takes for a complete answer, whether it is billed or not."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one caller saw of its call."""

    wish: Wish
    endpoint: Endpoint
    is_stream: bool
    account_id: str
    status: int | None = None
    """None: the connection broke, or was left, before a head came."""
    request_id: str | None = None
    code: str | None = None
    """Of an error, plain or as an event."""
    charged_micro: int | None = None
    """What the bill in the answer says."""
    is_estimated: bool = False
    is_whole: bool = False
    """The answer came to its end."""
    was_left: bool = False
    """The caller hung up."""
    retry_after: str | None = None
    is_well_formed: bool = True
    seconds: float = 0.0
    began_at: float = 0.0
    """Monotonic."""

    @property
    def outcome(self) -> str:
        """`served`, the code of an error, `left`, or `broken`."""
        if self.is_whole:
            return "served"
        return self.code or ("left" if self.was_left else "broken")


def new_tag(prefix: str) -> str:
    return f"{prefix}-{next(_numbers)}"


@asynccontextmanager
async def http_session(*, keep_alive: bool = True) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0, force_close=not keep_alive)
    timeout = aiohttp.ClientTimeout(total=CALL_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
        yield session


async def call(
    session: aiohttp.ClientSession,
    person: Person,
    endpoint: Endpoint,
    wish: Wish,
    *,
    is_stream: bool,
    leave_after: int | None = None,
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> Seen:
    """Make one call and read its answer; hang up after `leave_after` events of a stream."""
    asked: dict[str, Any] = {"stream": True, **fields} if is_stream else fields
    body = endpoint.body(wish.prompt, **asked)
    seen = Seen(wish, endpoint, is_stream, person.account_id, began_at=time.monotonic())
    received = bytearray()
    try:
        async with session.post(
            f"{person.server.url}{endpoint.path}", data=json.dumps(body), headers=person.headers(**(headers or {}))
        ) as reply:
            seen = replace(
                seen,
                status=reply.status,
                request_id=reply.headers.get("x-request-id"),
                retry_after=reply.headers.get("retry-after"),
            )
            if leave_after == 0:
                seen = replace(seen, was_left=True)
                reply.close()
            else:
                async for part in reply.content.iter_any():
                    received += part
                    if leave_after is not None and received.count(b"\n\n") >= leave_after:
                        seen = replace(seen, was_left=True)
                        reply.close()
                        break
    except (aiohttp.ClientError, TimeoutError, OSError):
        pass  # it says so by what it lacks
    seen = replace(seen, seconds=time.monotonic() - seen.began_at)
    if seen.status is None:
        return seen
    return _read_plain(seen, bytes(received)) if _is_plain(seen) else _read_stream(seen, bytes(received))


def _is_plain(seen: Seen) -> bool:
    return not seen.is_stream or seen.status != 200


def _read_plain(seen: Seen, received: bytes) -> Seen:
    try:
        body = json.loads(received, parse_float=Decimal)
    except ValueError:
        # A reply that broke off is no malformed one; an error that is no JSON is.
        return replace(seen, is_well_formed=seen.status == 200 or not received)
    if seen.status != 200:
        return replace(seen, code=str(body["error"]["code"]), is_well_formed=seen.request_id is not None)
    return replace(_billed(seen, body.get("hypereal")), is_whole=True)


def _read_stream(seen: Seen, received: bytes) -> Seen:
    *events, _ = received.split(b"\n\n")  # the last is empty, or a part of one
    for event in events:
        data = event.partition(b"data: ")[2]
        if not data or data == b"[DONE]":
            continue
        read = json.loads(data, parse_float=Decimal)
        error = read.get("error") or (read.get("response") or {}).get("error")
        if error:
            seen = replace(seen, code=str(error.get("code")))
        bill = read.get("hypereal") or (read.get("response") or {}).get("hypereal")
        if bill:
            seen = _billed(seen, bill)
    last = LAST_EVENTS[seen.endpoint.name]
    compact = last.replace(b": ", b":")
    is_whole = any(last in event or compact in event for event in events) and seen.code is None
    return replace(seen, is_whole=is_whole)


def _billed(seen: Seen, block: Any) -> Seen:
    if not block:
        return seen
    bill = block["billing"]
    return replace(
        seen, charged_micro=int(bill["credits_charged"] * 1_000_000), is_estimated=bool(bill.get("estimated"))
    )


def any_call(number: int) -> tuple[Endpoint, bool]:
    """All protocols in turn, four streams to one plain call."""
    return ENDPOINTS[number % len(ENDPOINTS)], number % 5 != 0


def any_text_stream(number: int) -> tuple[Endpoint, bool]:
    return TEXT_ENDPOINTS[number % len(TEXT_ENDPOINTS)], True


async def load(
    person: Person,
    *,
    clients: int,
    is_over: Callable[[], bool],
    wish: Callable[[int], Wish],
    pick: Callable[[int], tuple[Endpoint, bool]] = any_call,
    keep_alive: bool = True,
    pause_s: float = 0.0,
) -> list[Seen]:
    """So many clients, each with one call after another, until it is over; then what all of them saw."""
    seen: list[Seen] = []
    numbers = itertools.count()

    async def client(session: aiohttp.ClientSession) -> None:
        while not is_over():
            number = next(numbers)
            endpoint, is_stream = pick(number)
            one = await call(session, person, endpoint, wish(number), is_stream=is_stream)
            seen.append(one)
            # A caller who found nobody tries again, but not in a tight circle.
            await asyncio.sleep(pause_s if one.status is not None else 0.05)

    async with http_session(keep_alive=keep_alive) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return seen


async def once_each(
    person: Person,
    wishes: Sequence[Wish],
    *,
    pick: Callable[[int], tuple[Endpoint, bool]] = any_call,
    keep_alive: bool = True,
    **fields: Any,
) -> list[Seen]:
    """As many callers as wishes, all at the same moment."""
    async with http_session(keep_alive=keep_alive) as session:
        picked = [pick(number) for number in range(len(wishes))]
        calls = (
            call(session, person, endpoint, wish, is_stream=is_stream, **fields)
            for wish, (endpoint, is_stream) in zip(wishes, picked, strict=True)
        )
        return await asyncio.gather(*calls)


@contextmanager
def in_background(
    make_calls: Callable[[], Coroutine[Any, Any, list[Seen]]], is_over: threading.Event, seen: list[Seen]
) -> Iterator[None]:
    """Calls go on, in a loop of their own, while the faults happen; then `is_over`, and `seen` has all of them."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            seen.extend(asyncio.run(make_calls()))
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=work, name="callers")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        if failures:
            raise failures[0]
