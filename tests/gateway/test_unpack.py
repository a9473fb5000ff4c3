"""Compressed bodies: whatever they unpack to, and however they were cut on the way, memory stays bounded."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from apps.gateway.unpack import UNPACKERS, Damaged, TooLong, Unpacker
from tests.dialects.bodies import relaxed

ZSTD = zstandard.ZstdCompressor()
PACK: dict[bytes, Callable[[bytes], bytes]] = {b"gzip": gzip.compress, b"zstd": ZSTD.compress}
EACH = pytest.mark.parametrize("encoding", sorted(PACK))
LIMIT = 100_000


def unpack(unpacker: Unpacker, *parts: bytes) -> bytes:
    whole = b"".join(unpacker.feed(part) for part in parts)
    unpacker.end()
    return whole


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@EACH
@relaxed
@given(st.binary(max_size=5_000), st.integers(1, 5_000), st.booleans())
def test_a_body_comes_out_as_it_was(encoding: bytes, body: bytes, size: int, is_in_two: bool) -> None:
    middle = len(body) // 2
    halves = (body[:middle], body[middle:]) if is_in_two else (body,)
    packed = b"".join(PACK[encoding](half) for half in halves)
    assert unpack(UNPACKERS[encoding](LIMIT), *pieces(packed, size)) == body


@EACH
def test_the_limit_is_exact(encoding: bytes) -> None:
    packed = PACK[encoding](b"x" * LIMIT)
    assert unpack(UNPACKERS[encoding](LIMIT), packed) == b"x" * LIMIT
    with pytest.raises(TooLong):
        unpack(UNPACKERS[encoding](LIMIT - 1), packed)
    with pytest.raises(TooLong):
        unpack(UNPACKERS[encoding](LIMIT), *pieces(PACK[encoding](os.urandom(LIMIT + 1)), 4_096))


@EACH
def test_nothing_is_an_empty_body(encoding: bytes) -> None:
    assert unpack(UNPACKERS[encoding](LIMIT)) == b""


@EACH
def test_what_is_cut_or_damaged_is_told(encoding: bytes) -> None:
    packed = PACK[encoding](b"one two three " * 100)
    for broken in (packed[:-1], packed[:12], b"{}", packed + b"trailing", packed[:20] + b"\0" * 9 + packed[29:]):
        with pytest.raises(Damaged):
            unpack(UNPACKERS[encoding](LIMIT), broken)


def test_a_bomb_unpacks_no_further_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gigabyte in a megabyte (gzip), and in 32 KB (zstd)."""
    stop_at = 1_000_000
    squeezer = zlib.compressobj(9, zlib.DEFLATED, 31)
    squeezed = b"".join(squeezer.compress(bytes(1_000_000)) for _ in range(1_000)) + squeezer.flush()
    gunzip = UNPACKERS[b"gzip"](stop_at)
    with pytest.raises(TooLong):
        gunzip.feed(squeezed)
    made = zstandard.ZstdCompressor(level=19).compressobj()
    squeezed = b"".join(made.compress(bytes(1_000_000)) for _ in range(1_000)) + made.flush()
    assert len(squeezed) < 150_000
    most = 0

    class Watched:
        """Counts what a single step gives."""

        def __init__(self, inner: zstandard.ZstdDecompressionObj) -> None:
            self._inner = inner

        @property
        def eof(self) -> bool:
            return self._inner.eof

        def decompress(self, data: bytes) -> bytes:
            nonlocal most
            out = self._inner.decompress(data)
            most = max(most, len(out))
            return out

    unzstd = UNPACKERS[b"zstd"](stop_at)
    monkeypatch.setattr(unzstd, "_frame", Watched(unzstd._frame))  # type: ignore[attr-defined]
    with pytest.raises(TooLong):
        unzstd.feed(squeezed)
    assert 0 < most <= 33_554_432


def test_a_frame_that_wants_much_memory_is_refused() -> None:
    wide = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    ).compressobj()
    packed = wide.compress(b"x" * 100) + wide.flush()
    with pytest.raises(Damaged):
        unpack(UNPACKERS[b"zstd"](LIMIT), packed)
