"""Request bodies that come compressed: unpacked piece by piece as they arrive, never further than a body may be long.

A few kilobytes can unpack to gigabytes. Each step is bounded before it is made, and is made beside the event loop: half
a megabyte of gzip may be a tenth of a second of work.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final, Protocol

import zstandard

GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
"""Tells zlib to expect gzip's header and trailer."""
MAX_ZSTD_WINDOW: Final = 8_388_608
"""What RFC 8878 asks every decoder to support, and no more: a frame may name a window of terabytes."""
ZSTD_SLICE: Final = 1_024
"""Fed at once: at four bytes a block and 128 KB from each, no slice unpacks to more than 32 MB."""


class Damaged(Exception):
    """The bytes are not what their encoding says, or end before their end."""


class TooLong(Exception):
    """They unpack to more than is allowed."""


class Unpacker(Protocol):
    def feed(self, data: bytes) -> bytes:
        """What these bytes, the next of the body, unpack to. Raises: Damaged, TooLong."""

    def end(self) -> None:
        """The body has ended. Raises: Damaged, where it should not have."""


class Gunzip:
    """gzip, of one member or several."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._member = zlib.decompressobj(GZIP_WINDOW)
        self._has_begun = False

    def feed(self, data: bytes) -> bytes:
        parts = []
        while data:
            if self._member.eof:
                self._member = zlib.decompressobj(GZIP_WINDOW)
            self._has_begun = True
            try:
                parts.append(self._member.decompress(data, self._left + 1))
            except zlib.error as error:
                raise Damaged from error
            self._left -= len(parts[-1])
            if self._left < 0:
                raise TooLong
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        return b"".join(parts)

    def end(self) -> None:
        if self._has_begun and not self._member.eof:
            raise Damaged


class Unzstd:
    """Zstandard, of one frame or several."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW)
        self._frame = self._decompressor.decompressobj()
        self._has_begun = False

    def feed(self, data: bytes) -> bytes:
        parts = []
        for start in range(0, len(data), ZSTD_SLICE):
            rest = data[start : start + ZSTD_SLICE]
            while rest:
                if self._frame.eof:
                    self._frame = self._decompressor.decompressobj()
                self._has_begun = True
                try:
                    parts.append(self._frame.decompress(rest))
                except zstandard.ZstdError as error:
                    raise Damaged from error
                self._left -= len(parts[-1])
                if self._left < 0:
                    raise TooLong
                rest = self._frame.unused_data if self._frame.eof else b""
        return b"".join(parts)

    def end(self) -> None:
        if self._has_begun and not self._frame.eof:
            raise Damaged


UNPACKERS: Final[dict[bytes, Callable[[int], Unpacker]]] = {b"gzip": Gunzip, b"x-gzip": Gunzip, b"zstd": Unzstd}
"""By content-encoding: makes one for a body that may be so many bytes long."""
IDENTITY: Final = b"identity"
