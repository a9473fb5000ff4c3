"""Sentences to fill a long answer with: the same seed, the same text."""

from __future__ import annotations

import zlib
from typing import Final

MAX_WORDS: Final = 20_000
_LEAST_WORDS: Final = 9
"""Words in the shortest sentence."""

_OPENINGS: Final = ("In short", "For example", "On closer reading", "More generally", "By contrast", "As a rule")
_SUBJECTS: Final = (
    "the first draft", "a careful reader", "the second request", "every measured run", "the quiet server",
    "an honest estimate", "the smaller model", "this long answer", "the morning batch", "a patient queue",
)  # fmt: skip
_VERBS: Final = ("explains", "outlines", "repeats", "follows", "compares", "carries", "measures", "describes")
_OBJECTS: Final = (
    "what was asked", "the same idea twice", "each step in order", "the cost of waiting", "a simple example",
    "the shape of the data", "an ordinary case", "the way it was written", "one token at a time",
)  # fmt: skip


def sentences(seed: str, n: int) -> str:
    """`n` sentences of nine to thirteen words."""
    state = zlib.crc32(seed.encode())
    written = []
    for _ in range(n):
        # A linear congruential generator: cheap, and it does not depend on Python's hash seed.
        state = (state * 1_664_525 + 1_013_904_223) % 2**32
        dice = state >> 8
        opening = _OPENINGS[dice % len(_OPENINGS)]
        subject = _SUBJECTS[dice // 7 % len(_SUBJECTS)]
        verb = _VERBS[dice // 83 % len(_VERBS)]
        written.append(f"{opening}, {subject} {verb} {_OBJECTS[dice // 997 % len(_OBJECTS)]}.")
    return " ".join(written)


def words(seed: str, n: int) -> str:
    """At least `n` words (at most MAX_WORDS), in whole sentences."""
    return sentences(seed, -(-min(n, MAX_WORDS) // _LEAST_WORDS))


def exactly(seed: str, size: int) -> str:
    """Exactly `size` ASCII characters of prose, whatever that does to the last word."""
    page = sentences(seed, 64) + " "
    return (page * (size // len(page) + 1))[:size]
