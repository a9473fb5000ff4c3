"""What the simulator hands back: status, headers, and a body that is whole or comes in paced chunks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

BREATHER_CHUNKS: Final = 64
"""An unpaced stream gives way to other tasks once in so many frames."""

encode: Final = msgspec.json.Encoder().encode


class SimulatedCut(Exception):
    """The connection ends here, as the prompt demanded."""


class Frame(NamedTuple):
    """One piece of a stream, as it goes over the wire. Only content is paced and counted."""

    data: bytes
    is_content: bool = False


@dataclass(frozen=True, slots=True)
class SimulatedReply:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes | AsyncIterator[bytes]


def data_frame(payload: Mapping[str, Any], *, is_content: bool = False) -> Frame:
    """A server-sent event without a name."""
    return Frame(b"data: " + encode(payload) + b"\n\n", is_content)


def event_frame(payload: Mapping[str, Any], *, is_content: bool = False) -> Frame:
    """A server-sent event named after its payload's `type`."""
    name: str = payload["type"]
    return Frame(b"event: " + name.encode() + b"\ndata: " + encode(payload) + b"\n\n", is_content)


def fail_after(frames: Iterable[Frame], contents: int, break_off: Callable[[int], Iterable[Frame]]) -> Iterator[Frame]:
    """The stream up to so many frames of content, then those of a failure (`break_off` is told how many were sent)."""
    sent = 0
    for frame in frames:
        if frame.is_content:
            if contents == 0:
                break
            contents -= 1
        sent += 1
        yield frame
    yield from break_off(sent)


class PacedStream:
    """An asynchronous iterator over frames: `chunk_s` between contents, cut off after `cut_after` of them.

    A class and not a generator: one that its reader drops half way needs nobody to close it.
    """

    def __init__(self, frames: Iterable[Frame], *, chunk_s: float, cut_after: int | None = None) -> None:
        self._frames = iter(frames)
        self._chunk_s = chunk_s
        self._cut_after = cut_after
        self._contents = 0
        self._sent = 0

    def __aiter__(self) -> PacedStream:
        return self

    async def __anext__(self) -> bytes:
        if self._contents == self._cut_after:
            raise SimulatedCut
        frame = next(self._frames, None)
        if frame is None:
            raise StopAsyncIteration
        self._sent += 1
        if frame.is_content:
            if self._chunk_s and self._contents:
                await asyncio.sleep(self._chunk_s)
            self._contents += 1
        if self._sent % BREATHER_CHUNKS == 0:
            await asyncio.sleep(0)
        return frame.data


def cut_in_half(body: bytes) -> PacedStream:
    """A plain body whose connection ends half way."""
    return PacedStream([Frame(body[: len(body) // 2], is_content=True)], chunk_s=0, cut_after=1)
