"""What Django's handler lacks: no byte of a body is read before the key is checked, none is spooled, none is late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from apps.core import clock
from apps.core.errors import GatewayError
from apps.gateway.call import Call, Message, Receive
from apps.gateway.patience import Patience
from apps.gateway.unpack import IDENTITY, UNPACKERS, Damaged, TooLong, Unpacker

MAX_BODY_BYTES: Final = 33_554_432
MAX_DIGITS: Final = 20
"""Of a length: the first so many are enough to see that it is too large, and Python reads no number of thousands."""
BODY_IDLE_S: Final = 30.0
"""A sender that is silent for this long within its body is refused with 408."""
BODY_S: Final = 600.0
"""For a whole body, however steadily it drips: 32 MiB at half a megabit per second."""
LINGER_BYTES: Final = 2 * MAX_BODY_BYTES
LINGER_S: Final = 5.0
"""A refused body is thrown away up to here, so that its sender can read the refusal before the connection closes."""


class BodyRefused(GatewayError):
    """The body is too large, too slow, ended early, or is in an encoding that we do not take."""


class CallerLeft(Exception):
    """The caller hung up before its request was complete: there is nobody to answer."""


def check_length(call: Call) -> None:
    """Refuse by the head alone what cannot become a body we take. Compressed, it may not even arrive any longer.

    Raises: BodyRefused.
    """
    encoding = encoding_of(call)
    if encoding != IDENTITY and encoding not in UNPACKERS:
        known = ", ".join(name.decode() for name in UNPACKERS)
        raise BodyRefused("unsupported_encoding", f"This content-encoding is not supported; {known} are.")
    declared = call.headers.get(b"content-length")
    if declared is not None and declared.isdigit() and int(declared[:MAX_DIGITS]) > MAX_BODY_BYTES:
        raise _too_large()


def encoding_of(call: Call) -> bytes:
    return call.headers.get(b"content-encoding", IDENTITY).strip().lower() or IDENTITY


async def read_body(call: Call, receive: Receive) -> bytes:
    """The whole body, unpacked where it came compressed, at most 32 MiB of it.

    Raises: BodyRefused, CallerLeft.
    """
    encoding = encoding_of(call)
    body = await (_read(receive) if encoding == IDENTITY else _read_packed(call, receive, UNPACKERS[encoding]))
    call.body_is_read = True
    call.started = clock.monotonic()
    return body


async def _read(receive: Receive) -> bytes:
    ends_at = clock.monotonic() + BODY_S
    message = await _next(receive)
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
        return body
    parts, size = [body], len(body)
    while message.get("more_body", False):
        if clock.monotonic() > ends_at:
            raise _too_slow()
        message = await _next(receive)
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        parts.append(part)
    return b"".join(parts)


async def _read_packed(call: Call, receive: Receive, make_unpacker: Callable[[int], Unpacker]) -> bytes:
    """The body is unpacked as it arrives: one that grows too large is refused at the piece that does it."""
    unpacker = make_unpacker(MAX_BODY_BYTES)
    ends_at = clock.monotonic() + BODY_S
    parts, size = [], 0
    try:
        while not call.body_is_read:
            if clock.monotonic() > ends_at:
                raise _too_slow()
            message = await _next(receive)
            call.body_is_read = not message.get("more_body", False)
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > MAX_BODY_BYTES:
                raise _too_large()
            if part:
                parts.append(await asyncio.to_thread(unpacker.feed, part))
        unpacker.end()
    except TooLong:
        raise _too_large() from None
    except Damaged:
        what = "The request body is not what its content-encoding says, or was cut."
        raise BodyRefused("invalid_request", what) from None
    return b"".join(parts)


async def _next(receive: Receive) -> Message:
    try:
        with Patience(BODY_IDLE_S):
            message = await receive()
    except TimeoutError:
        raise _too_slow() from None
    if message["type"] == "http.disconnect":
        raise CallerLeft
    return message


async def throw_away_body(receive: Receive) -> None:
    """Read what a refused caller still sends, within bounds, so that a reset does not swallow our answer."""
    thrown = 0
    try:
        with Patience(LINGER_S):
            while thrown < LINGER_BYTES:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                thrown += len(message.get("body", b""))
    except TimeoutError:
        return


def _too_slow() -> BodyRefused:
    return BodyRefused("request_timeout", "The request body did not arrive in time.")


def _too_large() -> BodyRefused:
    return BodyRefused("body_too_large", f"The request body is larger than {MAX_BODY_BYTES} bytes.")
