"""Everything is a count with a name, so that minutes, processes and totals are added up in the same way. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from apps.governor.telemetry.histogram import BUCKETS, bucket_of

Counts = dict[str, int]
"""`{"succeeded": 3, "failed:upstream_error": 1, "first_byte_ms.52": 2, "first_byte_ms.sum": 431, …}`"""

SLICE_S: Final = 10
MINUTE: Final = 60 // SLICE_S
FIVE_MINUTES: Final = 300 // SLICE_S

SUCCEEDED: Final = "succeeded"
ABANDONED: Final = "abandoned"
FAILED: Final = "failed:"
"""With the error's code behind it, as in the next two."""
REFUSED: Final = "refused:"
ATTEMPT_FAILED: Final = "attempt_failed:"
SHED: Final = frozenset(
    {
        "account_rpm", "key_rpm", "key_model_rpm", "model_rpm", "model_tpm", "model_ipm",
        "queue_full", "queue_timeout", "circuit_open",
    }
)  # fmt: skip
"""Refusals for want of capacity: what is shed has not failed."""


class Measure:
    """A histogram among the counts: a name per bucket, made once, and one for the sum."""

    __slots__ = ("_buckets", "_of_bucket", "name", "of_sum")

    def __init__(self, name: str) -> None:
        self.name = name
        self.of_sum = f"{name}.sum"
        self._of_bucket = tuple(f"{name}.{bucket}" for bucket in range(BUCKETS))
        self._buckets = {of_bucket: bucket for bucket, of_bucket in enumerate(self._of_bucket)}

    def count(self, counts: Counts, value: int) -> None:
        bucket = self._of_bucket[bucket_of(value)]
        counts[bucket] = counts.get(bucket, 0) + 1
        counts[self.of_sum] = counts.get(self.of_sum, 0) + value

    def histogram(self, counts: Mapping[str, int]) -> dict[int, int]:
        """The buckets of this measure that are not empty."""
        buckets = self._buckets
        return {buckets[name]: count for name, count in counts.items() if name in buckets}


WAIT_MS: Final = Measure("wait_ms")
FIRST_BYTE_MS: Final = Measure("first_byte_ms")
OUTPUT_TOKENS_PER_S: Final = Measure("output_tokens_per_s")
MEASURES: Final = (WAIT_MS, FIRST_BYTE_MS, OUTPUT_TOKENS_PER_S)


def add(to: Counts, more: Mapping[str, int]) -> None:
    for name, count in more.items():
        to[name] = to.get(name, 0) + count


def subtract(from_: Counts, less: Mapping[str, int]) -> None:
    """Names whose count comes to nothing go."""
    for name, count in less.items():
        left = from_.get(name, 0) - count
        if left:
            from_[name] = left
        else:
            # A sum of zeros comes to nothing more than once.
            from_.pop(name, None)


def total(parts: Iterable[Mapping[str, int]]) -> Counts:
    found: Counts = {}
    for part in parts:
        add(found, part)
    return found


def by_code(counts: Mapping[str, int], prefix: str) -> Counts:
    """`{"upstream_error": 1}` of what begins with `failed:`."""
    return {name[len(prefix) :]: count for name, count in counts.items() if name.startswith(prefix)}


class Rolling:
    """Counts of the last minute, of the last five, and of all time; a call is written into one of them only.

    That one is the slice of the present ten seconds. When it closes it is added to the other three, and what left the
    minute, or the five, is taken from it again: reading costs the same however much was counted.
    """

    __slots__ = ("_closed", "_ended", "_five_minutes", "_minute", "_number", "current")

    def __init__(self, now: float) -> None:
        self.current: Counts = {}
        self._number = int(now // SLICE_S)
        self._closed: deque[Counts] = deque()
        """Oldest first."""
        self._minute: Counts = {}
        self._five_minutes: Counts = {}
        self._ended: Counts = {}

    def at(self, now: float) -> Counts:
        """The counts to write into, now (monotonic seconds)."""
        if int(now // SLICE_S) != self._number:
            self._roll(int(now // SLICE_S))
        return self.current

    def minute(self, now: float) -> Counts:
        """Of the last 60 to 70 seconds."""
        return total((self._minute, self.at(now)))

    def five_minutes(self, now: float) -> Counts:
        """Of the last 300 to 310 seconds."""
        return total((self._five_minutes, self.at(now)))

    def ever(self) -> Counts:
        return total((self._ended, self.current))

    def _roll(self, number: int) -> None:
        # Whoever was quiet for longer than all slices last closes no more of them than there are.
        steps = min(number - self._number, FIVE_MINUTES + 1)
        for _ in range(steps):
            self._close()
        self._number = number

    def _close(self) -> None:
        closed = self.current
        self.current = {}
        self._closed.append(closed)
        for sums in (self._minute, self._five_minutes, self._ended):
            add(sums, closed)
        if len(self._closed) > MINUTE:
            subtract(self._minute, self._closed[-MINUTE - 1])
        if len(self._closed) > FIVE_MINUTES:
            subtract(self._five_minutes, self._closed.popleft())
