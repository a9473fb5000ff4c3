"""When an upstream is asked again, and when it is left alone for a while. No I/O; time comes in as `now`."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Final

from apps.governor.rules import RollingWindow
from apps.upstreams.rules import RouteSnapshot

MAX_ATTEMPTS: Final = 3
"""Of one call, on all its routes together."""
WORTH_WAITING_S: Final = 2.0
"""A longer `Retry-After` is for the caller to wait, not for its slot and its hold."""
BACKOFF_S: Final = 0.1
"""Before a route is asked a second time; twice as long before the third."""
BUDGET_S: Final = 10
BUDGET_PERCENT: Final = 20
BUDGET_FLOOR: Final = 3
"""So many times in BUDGET_S is a route asked again, and so many per cent of the model's calls on top: an outage adds at
most a fifth to what its upstreams are asked."""


class Retries:
    """What one process remembers: each model's budget, and the routes that told it to come back later."""

    def __init__(self, draws: random.Random | None = None) -> None:
        self.repeats: Counter[str] = Counter()
        """By model: the same route was asked again."""
        self.failovers: Counter[str] = Counter()
        """By model: another route was asked."""
        self.refused: Counter[str] = Counter()
        """By model: repeats for which the budget had nothing left."""
        self._draws = draws or random.Random()
        self._calls: dict[str, RollingWindow] = {}
        self._spent: dict[str, RollingWindow] = {}
        self._back_at: dict[str, float] = {}

    def count_call(self, model_id: str, now: float) -> None:
        """A call begins: it pays into its model's budget."""
        calls = self._calls.get(model_id)
        if calls is None:
            calls = self._calls[model_id] = RollingWindow(BUDGET_S)
        calls.count(1, now)

    def may_repeat(self, model_id: str, now: float) -> bool:
        """Take one repeat from the model's budget; False where nothing is left."""
        spent = self._spent.get(model_id)
        if spent is None:
            spent = self._spent[model_id] = RollingWindow(BUDGET_S)
        calls = self._calls.get(model_id)
        allowed = BUDGET_FLOOR + (0 if calls is None else calls.used(now) * BUDGET_PERCENT // 100)
        if spent.used(now) >= allowed:
            self.refused[model_id] += 1
            return False
        spent.count(1, now)
        self.repeats[model_id] += 1
        return True

    def leave_alone(self, route_key: str, seconds: float, now: float) -> None:
        """The route told us when to come back."""
        self._back_at[route_key] = max(now + seconds, self._back_at.get(route_key, 0.0))

    def welcome(self, route_key: str) -> None:
        """The route serves again, whatever it said before."""
        if self._back_at:
            self._back_at.pop(route_key, None)

    def ordered(self, routes: Sequence[RouteSnapshot], now: float) -> Sequence[RouteSnapshot]:
        """The routes to ask now. One that is to be left alone is skipped, unless all of them are: then the one that is
        back first is asked all the same, since it may have meant others than this caller."""
        if not self._back_at:
            return routes
        self._back_at = {key: back_at for key, back_at in self._back_at.items() if back_at > now}
        free = [route for route in routes if route.key not in self._back_at]
        return free or [min(routes, key=lambda route: self._back_at[route.key])]

    def backoff_s(self, repeats: int) -> float:
        """How long to wait before a route is asked again, after `repeats` times: jittered, so that calls which failed
        together do not come back together."""
        return BACKOFF_S * (1 << repeats) * self._draws.uniform(0.5, 1.5)

    def jittered_s(self, seconds: float) -> float:
        """A wait that was asked for, and a little more."""
        return seconds + BACKOFF_S * self._draws.random()
