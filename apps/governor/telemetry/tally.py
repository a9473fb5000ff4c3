"""Counting calls in one process: a tally per model and route, a few additions for each call."""

from __future__ import annotations

from typing import Final

from apps.core import clock
from apps.governor.telemetry import counts
from apps.governor.telemetry.counts import Counts, Rolling
from apps.usage.record import Record

NO_ROUTE: Final = ""
NO_MODEL: Final = ""
"""Refused before anybody knew for which model."""


class Tally:
    """One model on one route."""

    __slots__ = ("_handed_on", "_monotonic", "in_flight", "model_id", "rolling", "route_key")

    def __init__(self, model_id: str, route_key: str, monotonic: clock.Monotonic) -> None:
        self.model_id = model_id
        self.route_key = route_key
        self.in_flight = 0
        self.rolling = Rolling(monotonic())
        self._monotonic = monotonic
        self._handed_on: Counts = {}

    def fail_attempt(self, code: str) -> None:
        """The route failed before a byte reached the caller, whom another may serve."""
        _one(self.rolling.at(self._monotonic()), counts.ATTEMPT_FAILED + code)

    def refuse(self, code: str) -> None:
        _one(self.rolling.at(self._monotonic()), counts.REFUSED + code)

    def end(self, record: Record) -> None:
        """Count a call that was admitted, by how it ended; a refused one is counted by `refuse`."""
        status, now = record.status, self.rolling.at(self._monotonic())
        if status == "refused":
            return
        counts.WAIT_MS.count(now, record.queue_ms)
        if status == "failed":
            is_refusal = record.http_status < 500 or record.error_code in counts.SHED
            _one(now, (counts.REFUSED if is_refusal else counts.FAILED) + record.error_code)
            return
        _one(now, status)
        first_byte_ms = record.first_byte_ms
        if first_byte_ms is None:
            return
        counts.FIRST_BYTE_MS.count(now, first_byte_ms)
        if record.output_tokens and status == "succeeded":
            # A plain reply comes at once when all of it is made.
            since_ms = first_byte_ms if record.is_stream else record.queue_ms
            counts.OUTPUT_TOKENS_PER_S.count(now, record.output_tokens * 1_000 // max(1, record.latency_ms - since_ms))

    def not_handed_on(self) -> Counts:
        """What was counted since the last `hand_on`."""
        fresh = self.rolling.ever()
        counts.subtract(fresh, self._handed_on)
        return fresh

    def hand_on(self, fresh: Counts) -> None:
        """`fresh`, as `not_handed_on` told it, is kept elsewhere from now on."""
        counts.add(self._handed_on, fresh)


class Telemetry:
    """All tallies of one process. As many as the catalog has routes, and one more per model."""

    def __init__(self, *, monotonic: clock.Monotonic = clock.monotonic) -> None:
        self._monotonic = monotonic
        self._tallies: dict[tuple[str, str], Tally] = {}

    def enter(self, model_id: str, route_key: str, *, left: Tally | None) -> Tally:
        """A call goes to a route now, after it `left` another, or none. Its end must be told with `end`."""
        if left is not None:
            left.in_flight -= 1
        tally = self.tally(model_id, route_key)
        tally.in_flight += 1
        return tally

    def end(self, record: Record, tally: Tally | None) -> None:
        """An admitted call ended, on the route that it entered last, or before it came to any."""
        if tally is None:
            tally = self.tally(record.model_id, NO_ROUTE)
        else:
            tally.in_flight -= 1
        tally.end(record)

    def refuse(self, model_id: str, code: str) -> None:
        """A call was refused. `model_id`: one of the catalog's, or NO_MODEL."""
        self.tally(model_id, NO_ROUTE).refuse(code)

    def tally(self, model_id: str, route_key: str) -> Tally:
        found = self._tallies.get((model_id, route_key))
        if found is None:
            found = self._tallies[model_id, route_key] = Tally(model_id, route_key, self._monotonic)
        return found

    def tallies(self) -> list[Tally]:
        return list(self._tallies.values())


def _one(now: Counts, name: str) -> None:
    now[name] = now.get(name, 0) + 1
