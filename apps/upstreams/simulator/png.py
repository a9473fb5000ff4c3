"""Real PNG files, drawn from a seed: a mirrored mosaic in sixteen colours."""

from __future__ import annotations

import hashlib
import struct
import zlib
from functools import lru_cache
from typing import Final

MAX_SIDE: Final = 4_096
CELLS: Final = 8
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


@lru_cache(maxsize=32)
def draw(seed: str, width: int, height: int, cells: int = CELLS) -> bytes:
    """A `width` x `height` PNG whose colours and pattern follow from `seed`. Fewer `cells` are a coarser draft.

    Four bits to a pixel and one row per row of cells keep a 1024 x 1024 image at a few milliseconds.
    """
    colours = hashlib.shake_256(seed.encode()).digest(48)
    pattern = hashlib.shake_256(b"pattern" + seed.encode()).digest(CELLS * CELLS)
    header = struct.pack(">IIBBBBB", width, height, 4, 3, 0, 0, 0)
    pixels = b"".join(
        _row(pattern, row, width, cells) * ((row + 1) * height // cells - row * height // cells) for row in range(cells)
    )
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", colours),
            _chunk(b"IDAT", zlib.compress(pixels, 1)),
            _chunk(b"IEND", b""),
        )
    )


def _row(pattern: bytes, row: int, width: int, cells: int) -> bytes:
    """One line of pixels, two to a byte, with its filter byte; the right half mirrors the left."""
    line = bytearray()
    for cell in range(cells):
        colour = pattern[row * CELLS + min(cell, cells - 1 - cell)] & 0x0F
        line += bytes([colour]) * ((cell + 1) * width // cells - cell * width // cells)
    if width % 2:
        line.append(0)
    return b"\x00" + bytes(left << 4 | right for left, right in zip(line[::2], line[1::2], strict=True))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
