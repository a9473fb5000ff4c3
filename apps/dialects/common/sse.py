"""Split server-sent events out of bytes that were cut anywhere.

Source: WHATWG HTML, "Server-sent events" (line ends CR, LF, CRLF; a leading byte order mark; comments).
"""

from __future__ import annotations

from typing import Final

import msgspec

MAX_EVENT_BYTES: Final = 32 * 1024 * 1024
"""The largest event we keep in memory: a generated 4K image as base64 fits several times."""

COMMENT: Final = b": keep-alive\n\n"

_CR: Final = 13
"""As an integer: looking for one is five times faster than for a bytes object."""

_BOM: Final = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """An event is larger than `MAX_EVENT_BYTES`."""


LARGE_EVENT_BYTES: Final = 65_536
"""An event beyond this is an image: it is kept once, and framed again only where somebody wants its bytes."""


class Event(msgspec.Struct, gc=False):
    """One event: `data` on a single line, `frame` the whole event with LF line ends and its blank line."""

    name: bytes
    """Empty where the event has none."""
    data: bytes
    """Empty for a comment."""
    kept_frame: bytes = b""

    @property
    def frame(self) -> bytes:
        return self.kept_frame or frame_of(self.name, self.data)


def frame_of(name: bytes, data: bytes) -> bytes:
    if name:
        return b"".join((b"event: ", name, b"\ndata: ", data, b"\n\n"))
    return b"".join((b"data: ", data, b"\n\n"))


class Splitter:
    """Feed bytes, get whole events. Where the bytes were cut makes no difference to what comes out."""

    __slots__ = ("_after_cr", "_buffer", "_is_started", "_scanned")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._after_cr = False
        self._is_started = False

    def feed(self, data: bytes) -> list[Event]:
        """Raises: EventTooLarge."""
        if self._after_cr and data:
            # The CR was taken as a line end when it came; its LF belongs to it.
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if _CR in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if not self._buffer and data.endswith(b"\n\n"):
            if data.startswith(b"data: ") and data.find(b"\n") == len(data) - 2:
                # One whole event without a name: what most reads of a chat stream bring.
                self._is_started = True
                return [Event(b"", data[6:-2], data)]
            if data.startswith(b"event: "):
                # The same with one, as in messages and responses.
                line_end = data.find(b"\n")
                if data.startswith(b"data: ", line_end + 1) and data.find(b"\n", line_end + 1) == len(data) - 2:
                    self._is_started = True
                    return [Event(data[7:line_end], data[line_end + 7 : -2], data)]
            return self._parse(data)
        return self._feed_buffered(data)

    def end(self) -> list[Event]:
        """The body ended: what is left counts as an event although its blank line never came."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return self._parse(rest)

    def _feed_buffered(self, data: bytes) -> list[Event]:
        buffer = self._buffer
        buffer += data
        cut = buffer.rfind(b"\n\n", max(0, self._scanned - 1))
        if cut < 0:
            self._scanned = len(buffer)
            if len(buffer) > MAX_EVENT_BYTES:
                raise EventTooLarge
            return []
        if cut + 2 == len(buffer):
            self._buffer = bytearray()
            self._scanned = 0
            large = _read_large(buffer)
            if large is None:
                return self._parse(bytes(buffer))
            self._is_started = True
            return [large]
        whole = bytes(memoryview(buffer)[: cut + 2])
        del buffer[: cut + 2]
        self._scanned = len(buffer)
        return self._parse(whole)

    def _parse(self, data: bytes) -> list[Event]:
        if not self._is_started and data:
            self._is_started = True
            data = data.removeprefix(_BOM)
        events = []
        for block in data.split(b"\n\n"):
            if len(block) > MAX_EVENT_BYTES:
                raise EventTooLarge
            event = _read(block)
            if event is not None:
                events.append(event)
        return events


def _read_large(block: bytearray) -> Event | None:
    """One large event on its usual lines, copied once; None for anything else."""
    if len(block) < LARGE_EVENT_BYTES:
        return None
    name, start = b"", 0
    if block.startswith(b"event: "):
        line_end = block.find(b"\n")
        name, start = bytes(block[7:line_end]), line_end + 1
    if not block.startswith(b"data: ", start) or block.find(b"\n", start) != len(block) - 2:
        return None
    if len(block) > MAX_EVENT_BYTES:
        raise EventTooLarge
    return Event(name, bytes(memoryview(block)[start + 6 : -2]))


def _read(block: bytes) -> Event | None:
    """One event out of its lines; the common shapes first. Lines that no client of ours needs are left out."""
    if block.startswith(b"data: ") and b"\n" not in block:
        return Event(b"", block[6:], block + b"\n\n")
    if block.startswith(b"event: "):
        line_end = block.find(b"\n")
        if block.startswith(b"data: ", line_end + 1) and block.find(b"\n", line_end + 1) < 0 < line_end:
            return Event(block[7:line_end], block[line_end + 7 :], block + b"\n\n")
    name = b""
    lines = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value
    # JSON has line ends only between its tokens, where a space means the same.
    data = b" ".join(lines)
    if data:
        return Event(name, data, frame_of(name, data))
    # A comment says that the upstream is alive, sometimes also its name, which is not the caller's business.
    return Event(b"", b"", COMMENT) if block.startswith(b":") else None
