"""The simulator's prompt cache: a bounded table of prefixes that were read lately."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from apps.core.clock import Monotonic, monotonic
from apps.upstreams.simulator.prompt import CacheTtl, Context
from apps.upstreams.simulator.tokens import BYTES_PER_TOKEN

MAX_PREFIXES: Final = 65_536

LIFE_S: Final[dict[CacheTtl, float]] = {"5m": 300.0, "1h": 3_600.0}

MARK_LEAST_TOKENS: Final = 32
"""A marked prefix shorter than this is not kept. Providers ask for 1,024 or more; small prompts show more here."""

LOOK_BACK_BLOCKS: Final = 20
"""From a mark that is not known, so many earlier ends of blocks are tried."""

STEP_LEAST_TOKENS: Final = 1_024
STEP_TOKENS: Final = 128
"""Without marks a prompt is kept by itself, in steps of 128 tokens from 1,024 on."""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Tokens of a prompt that came from the cache, and that went into it. The rest was plain input."""

    read: int = 0
    write_5m: int = 0
    write_1h: int = 0


NO_CACHE: Final = CacheUse()


class PrefixTable:
    """Least recently used prefixes, by a digest of their bytes and of who may see them."""

    def __init__(self, *, max_prefixes: int = MAX_PREFIXES, clock: Monotonic = monotonic) -> None:
        self._entries: OrderedDict[bytes, tuple[float, CacheTtl]] = OrderedDict()
        self._max_prefixes = max_prefixes
        self._clock = clock

    def __len__(self) -> int:
        return len(self._entries)

    def use_marks(self, context: Context, *, scope: bytes) -> CacheUse:
        """Read and write at the prompt's own breakpoints, as Anthropic does: the longest known prefix is read, what
        lies between it and each later mark is written with that mark's time to live."""
        marks = [mark for mark in context.marks if mark.offset >= MARK_LEAST_TOKENS * BYTES_PER_TOKEN]
        if not marks:
            return NO_CACHE
        digests = _digests(context, scope, {mark.offset for mark in marks}.union(context.ends))
        tries = (offset for mark in reversed(marks) for offset in _look_back(mark.offset, context.ends))
        hit = self._longest(tries, digests)
        written: dict[CacheTtl, int] = {"5m": 0, "1h": 0}
        since = hit
        for mark in marks:
            if mark.offset > hit:
                written[mark.ttl] += (mark.offset - since) // BYTES_PER_TOKEN
                since = mark.offset
            self._keep(digests[mark.offset], mark.ttl)
        return CacheUse(read=hit // BYTES_PER_TOKEN, write_5m=written["5m"], write_1h=written["1h"])

    def use_steps(self, context: Context, *, scope: bytes) -> CacheUse:
        """Read the longest known prefix and keep all of them, as OpenAI does without being asked. Writes are free."""
        if context.tokens < STEP_LEAST_TOKENS:
            return NO_CACHE
        offsets = range(STEP_LEAST_TOKENS * BYTES_PER_TOKEN, context.size + 1, STEP_TOKENS * BYTES_PER_TOKEN)
        digests = _digests(context, scope, offsets)
        hit = self._longest(reversed(offsets), digests)
        for offset in offsets:
            self._keep(digests[offset], "5m")
        return CacheUse(read=hit // BYTES_PER_TOKEN)

    def _longest(self, offsets: Iterable[int], digests: dict[int, bytes]) -> int:
        """The first of `offsets` whose prefix is known, and its life is renewed; 0 for none."""
        now = self._clock()
        for offset in offsets:
            entry = self._entries.get(digests[offset])
            if entry is not None and entry[0] > now:
                self._keep(digests[offset], entry[1])
                return offset
        return 0

    def _keep(self, digest: bytes, ttl: CacheTtl) -> None:
        self._entries[digest] = (self._clock() + LIFE_S[ttl], ttl)
        self._entries.move_to_end(digest)
        if len(self._entries) > self._max_prefixes:
            self._entries.popitem(last=False)


def _look_back(mark: int, ends: list[int]) -> list[int]:
    """Where a prefix that ends at or shortly before the mark may have been kept, longest first."""
    earlier = [end for end in ends if end < mark]
    return [mark, *reversed(earlier[-LOOK_BACK_BLOCKS:])]


def _digests(context: Context, scope: bytes, offsets: Iterable[int]) -> dict[int, bytes]:
    """The digest of the prefix up to each offset, in one walk."""
    content = memoryview(context.content())
    walk = hashlib.blake2b(scope, digest_size=16, person=b"prompt-cache")
    found: dict[int, bytes] = {}
    start = 0
    for offset in sorted(offsets):
        walk.update(content[start:offset])
        found[offset] = walk.copy().digest()
        start = offset
    return found
