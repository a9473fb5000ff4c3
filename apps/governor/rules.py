"""Decisions about capacity: rolling windows, places in a queue, circuits. Time comes in as `now`, monotonic seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from apps.catalog.rules import Capacity

WINDOW_S: Final = 60
"""Every rate is per minute."""

BUCKET_S: Final = 1.0
"""Calls counted within this long of each other share a bucket: a window holds at most 62 of them, however busy."""

CIRCUIT_WINDOW_S: Final = 30
CIRCUIT_LEAST_CALLS: Final = 10
"""Below this, one unlucky call would take a quiet route out of service."""
CIRCUIT_FAILED_PERCENT: Final = 50
CIRCUIT_OPEN_S: Final = 10
CIRCUIT_OPEN_MAX_S: Final = 60
PROBE_LOST_S: Final = 60
"""A probe that nobody reported by then (its process died, its caller left) no longer keeps others away."""


def whole_seconds(seconds: float) -> int:
    """A wait as `Retry-After` says it: rounded up, at least 1. Microseconds are noise of the clock's arithmetic."""
    return max(1, math.ceil(round(seconds, 6)))


@dataclass(slots=True, eq=False)
class _Bucket:
    opened_at: float
    latest_at: float
    amount: int


class RollingWindow:
    """What was counted in the last `seconds`, never above a limit in *any* window of that length.

    A bucket leaves when its latest call is `seconds` old, so none of its calls leaves early; the price is that its
    first call may stay up to BUCKET_S longer.
    """

    __slots__ = ("_buckets", "_used", "seconds")

    def __init__(self, seconds: int = WINDOW_S) -> None:
        self.seconds = seconds
        self._buckets: list[_Bucket] = []
        self._used = 0

    def used(self, now: float) -> int:
        buckets = self._buckets
        while buckets and buckets[0].latest_at + self.seconds <= now:
            self._used -= buckets.pop(0).amount
        return self._used

    def left(self, limit: int, now: float) -> int:
        """What still fits under `limit`; 0 where more was used, after a correction or a lowered limit."""
        return max(0, limit - self.used(now))

    def count(self, amount: int, now: float) -> None:
        """Add `amount` now. The caller has checked that it fits, or knows that it was used anyway."""
        if amount == 0:
            return
        self._used += amount
        buckets = self._buckets
        if buckets and now - (bucket := buckets[-1]).opened_at < BUCKET_S:
            bucket.latest_at = now
            bucket.amount += amount
        else:
            buckets.append(_Bucket(now, now, amount))

    def refund(self, amount: int, *, counted_at: float, now: float) -> None:
        """Take back what was counted at `counted_at`, from the bucket it is in.

        What has left the window has nothing to give back: taking it from a later bucket would let others in above
        the limit.
        """
        if amount == 0 or self.used(now) == 0:
            return
        for bucket in reversed(self._buckets):
            if bucket.opened_at <= counted_at:
                self._used -= amount
                bucket.amount -= amount
                if bucket.amount == 0:
                    self._buckets.remove(bucket)
                return

    def seconds_until(self, amount: int, *, limit: int, now: float) -> float:
        """How long until `amount` more fits, if nothing else is counted; the whole window where it never will."""
        excess = self.used(now) + amount - limit
        if excess <= 0:
            return 0.0
        for bucket in self._buckets:
            excess -= bucket.amount
            if excess <= 0:
                return bucket.latest_at + self.seconds - now
        return float(self.seconds)

    def oldest_leaves_in(self, now: float) -> float:
        """Seconds until the oldest bucket leaves; 0 where nothing is counted."""
        return self._buckets[0].latest_at + self.seconds - now if self.used(now) else 0.0

    def is_idle(self, now: float) -> bool:
        return not self._buckets or self._buckets[-1].latest_at + self.seconds <= now


@dataclass(slots=True)
class Load:
    """What waits in a queue, all of it or one account's part."""

    calls: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class NoPlace:
    """Which bound of the queue refused."""

    limit: str
    value: int
    used: int
    is_own: bool = False
    """The account's half is full, not the queue."""


def check_place(*, capacity: Capacity, queued: Load, own: Load, tokens: int) -> NoPlace | None:
    """Return why a call of `tokens` may not wait, or None when there is a place for it.

    One account takes at most half of the queue, but always one place, so that nobody can shut the others out.
    """
    if capacity.queue_s == 0 or capacity.queue_length == 0:
        return NoPlace("concurrency", capacity.concurrency, capacity.concurrency)
    if queued.calls >= capacity.queue_length:
        return NoPlace("queue_length", capacity.queue_length, queued.calls)
    if queued.tokens + tokens > capacity.queue_tokens:
        return NoPlace("queue_tokens", capacity.queue_tokens, queued.tokens)
    half_of_calls, half_of_tokens = max(1, capacity.queue_length // 2), capacity.queue_tokens // 2
    if own.calls >= half_of_calls:
        return NoPlace("account_queue_length", half_of_calls, own.calls, is_own=True)
    if own.calls and own.tokens + tokens > half_of_tokens:
        return NoPlace("account_queue_tokens", half_of_tokens, own.tokens, is_own=True)
    return None


def _circuit_window() -> RollingWindow:
    return RollingWindow(CIRCUIT_WINDOW_S)


@dataclass(slots=True)
class Circuit:
    """Keeps calls away from a route that fails.

    closed ──(≥ 10 calls in 30 s, ≥ 50 % failed)──> open ──(10 s)──> half_open ──(probe succeeded)──> closed
                                                     ^                  │
                                                     └──(probe failed: twice as long, at most 60 s)
    """

    calls: RollingWindow = field(default_factory=_circuit_window)
    failures: RollingWindow = field(default_factory=_circuit_window)
    is_tripped: bool = False
    opened_at: float = -math.inf
    open_s: int = CIRCUIT_OPEN_S
    probe_at: float | None = None

    def state(self, now: float) -> str:
        """`closed`, `open` or `half_open`."""
        if not self.is_tripped:
            return "closed"
        return "open" if now < self.opened_at + self.open_s else "half_open"

    def may_call(self, now: float) -> bool:
        """Whether a call may go now. Where half-open, True makes the asker the probe."""
        if not self.is_tripped:
            return True
        if now < self.opened_at + self.open_s:
            return False
        if self.probe_at is not None and now - self.probe_at <= PROBE_LOST_S:
            return False
        self.probe_at = now
        return True

    def report(self, *, ok: bool, began_at: float | None, now: float) -> None:
        """Learn how a call ended. One that began before the circuit last opened says nothing about the route today."""
        if began_at is not None and began_at < self.opened_at:
            return
        if not self.is_tripped:
            self._tally(ok=ok, now=now)
        elif self.probe_at is not None:
            if ok:
                self._close()
            else:
                self._open(now, open_s=min(self.open_s * 2, CIRCUIT_OPEN_MAX_S))

    def _tally(self, *, ok: bool, now: float) -> None:
        self.calls.count(1, now)
        if ok:
            return
        self.failures.count(1, now)
        calls = self.calls.used(now)
        if calls >= CIRCUIT_LEAST_CALLS and self.failures.used(now) * 100 >= calls * CIRCUIT_FAILED_PERCENT:
            self._open(now, open_s=CIRCUIT_OPEN_S)

    def _open(self, now: float, *, open_s: int) -> None:
        self.is_tripped, self.opened_at, self.open_s, self.probe_at = True, now, open_s, None

    def _close(self) -> None:
        # What was counted led to the opening; kept, it would open the circuit again at the next failure.
        self.calls, self.failures = _circuit_window(), _circuit_window()
        self.is_tripped, self.probe_at = False, None
