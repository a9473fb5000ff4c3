"""Circuits of all processes, in Redis: opened by what they all saw, probed by one of them.

A healthy route costs its calls one addition: successes are tallied here and told every quarter of a second, failures at
once. Each process goes by a copy of the state, which messages and answers keep fresh.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from apps.core import clock
from apps.governor.rules import (
    CIRCUIT_FAILED_PERCENT,
    CIRCUIT_LEAST_CALLS,
    CIRCUIT_OPEN_MAX_S,
    CIRCUIT_OPEN_S,
    CIRCUIT_WINDOW_S,
    PROBE_LOST_S,
    Circuit,
)
from apps.governor.store.memory import CallLater, call_later
from apps.governor.store.redis.link import Link, LinkDown
from apps.governor.store.redis.names import Names
from apps.governor.store.redis.scripts import load_script

MICRO: Final = 1_000_000
TALLY_S: Final = 0.25
_REPORT: Final = load_script("circuit_report")
_PROBE: Final = load_script("circuit_probe")
_FIGURES: Final = (
    CIRCUIT_WINDOW_S * MICRO,
    CIRCUIT_LEAST_CALLS,
    CIRCUIT_FAILED_PERCENT,
    CIRCUIT_OPEN_S * MICRO,
    CIRCUIT_OPEN_MAX_S * MICRO,
)


@dataclass(slots=True)
class _Copy:
    """A route's circuit that is not closed, as last heard."""

    open_until: float
    """Monotonic."""


class RedisCircuits:
    """The circuit half of a Governor. While Redis is away it goes by the copies, and by what this process sees."""

    def __init__(
        self,
        link: Link,
        names: Names,
        *,
        monotonic: clock.Monotonic = clock.monotonic,
        call_later: CallLater = call_later,
        told_time: Callable[[], str] = str,
    ) -> None:
        self._link = link
        self._names = names
        self._monotonic = monotonic
        self._call_later = call_later
        self._told_time = told_time
        """The scripts' clock, where it is not Redis' own."""
        self._copies: dict[str, _Copy] = {}
        self._tally: Counter[str] = Counter()
        self._is_flushing = False
        self._own: dict[str, Circuit] = {}
        """What this process saw while Redis was away."""
        link.subscribe(names.circuits, self._on_message)
        link.on_up.append(self._own.clear)

    def circuit(self, route: str) -> str:
        copy = self._copies.get(route)
        if copy is not None:
            return "open" if self._monotonic() < copy.open_until else "half_open"
        own = self._own.get(route)
        return "closed" if own is None else own.state(self._monotonic())

    async def may_call(self, route: str) -> bool:
        copy = self._copies.get(route)
        if copy is None and route not in self._own:
            return True
        if copy is not None and self._monotonic() < copy.open_until:
            return False
        if not self._link.is_up:
            return self._own_circuit(route).may_call(self._monotonic())
        try:
            may_call, *told = await self._link.call(
                _PROBE, [self._names.circuit(route)], [self._told_time(), PROBE_LOST_S * MICRO]
            )
        except LinkDown:
            return self._own_circuit(route).may_call(self._monotonic())
        self._learn(route, *told)
        return bool(may_call)

    def report(self, route: str, *, ok: bool, began_at: float | None = None) -> None:
        if ok and self._link.is_up and route not in self._copies and route not in self._own:
            self._tally[route] += 1
            if not self._is_flushing:
                self._is_flushing = True
                self._call_later(TALLY_S, self._flush)
            return
        now = self._monotonic()
        if not self._link.is_up:
            self._own_circuit(route).report(ok=ok, began_at=began_at, now=now)
            return
        age_s = 0.0 if began_at is None else max(0.0, now - began_at)
        self._tell(route, outcome="ok" if ok else "failed", age_s=age_s)

    def _flush(self) -> None:
        self._is_flushing = False
        for route in list(self._tally):
            self._tell(route, outcome="", age_s=0.0)

    def _tell(self, route: str, *, outcome: str, age_s: float) -> None:
        told = self._link.call(
            _REPORT,
            [self._names.circuit(route)],
            [
                self._told_time(),
                self._names.circuits,
                route,
                self._tally.pop(route, 0),
                outcome,
                round(age_s * MICRO),
                *_FIGURES,
            ],
        )
        told.add_done_callback(lambda reply: self._on_answer(route, outcome, reply))

    def _on_answer(self, route: str, outcome: str, reply: asyncio.Future[Any]) -> None:
        if reply.cancelled():
            return
        if reply.exception() is None:
            self._learn(route, *reply.result())
        elif outcome == "failed":
            # Redis went away with it: this process goes by what it sees, and it saw this.
            self._own_circuit(route).report(ok=False, began_at=None, now=self._monotonic())

    def _on_message(self, message: bytes) -> None:
        is_tripped, opens_in_us, route = message.decode().split(" ", 2)
        self._learn(route, int(is_tripped), int(opens_in_us))

    def _learn(self, route: str, is_tripped: int, opens_in_us: int) -> None:
        if is_tripped:
            self._copies[route] = _Copy(self._monotonic() + opens_in_us / MICRO)
        else:
            self._copies.pop(route, None)
            self._own.pop(route, None)

    def _own_circuit(self, route: str) -> Circuit:
        """This process's own, which takes over in the state that was last heard."""
        own = self._own.get(route)
        if own is None:
            own = self._own[route] = Circuit()
            copy = self._copies.pop(route, None)
            if copy is not None:
                own.is_tripped, own.opened_at = True, copy.open_until - CIRCUIT_OPEN_S
        return own
