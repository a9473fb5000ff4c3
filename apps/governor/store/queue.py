"""The short queue of one model: first come, first served, in this process."""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from apps.governor.rules import Load, RollingWindow
from apps.governor.store.protocol import Admission, Ask, CallerGone

Demand = tuple[str, RollingWindow, int, int]
"""What a call asks of one window: the code it is refused with, the window, the amount, the limit."""


@dataclass(slots=True, eq=False)
class Waiter:
    """A call that waits. `turn` gets its admission, or the reason why there is none."""

    ask: Ask
    demands: Sequence[Demand]
    """The account's comes first."""
    since: float
    turn: asyncio.Future[Admission]

    @property
    def deadline(self) -> float:
        return self.since + self.ask.capacity.queue_s

    @property
    def has_slot(self) -> bool:
        return self.turn.done() and not self.turn.cancelled() and self.turn.exception() is None

    def dismiss(self) -> None:
        """Its caller has gone."""
        if not self.turn.done():
            self.turn.set_exception(CallerGone())


class WaitQueue:
    """Waiters in the order they came, with the load of all and of each account."""

    __slots__ = ("_by_account", "_waiters", "load")

    def __init__(self) -> None:
        self._waiters: OrderedDict[Waiter, None] = OrderedDict()
        self._by_account: dict[uuid.UUID, Load] = {}
        self.load = Load()

    def load_of(self, account_id: uuid.UUID) -> Load:
        return self._by_account.get(account_id) or Load()

    def oldest(self, account_id: uuid.UUID | None = None) -> Waiter | None:
        """Who has waited longest, of all or of one account."""
        return next((each for each in self._waiters if account_id in (None, each.ask.account_id)), None)

    def join(self, waiter: Waiter) -> None:
        self._waiters[waiter] = None
        own = self._by_account.setdefault(waiter.ask.account_id, Load())
        for load in (self.load, own):
            load.calls += 1
            load.tokens += waiter.ask.tokens

    def leave(self, waiter: Waiter) -> None:
        """Free the waiter's place; nothing where it has left already."""
        if waiter not in self._waiters:
            return
        del self._waiters[waiter]
        own = self._by_account[waiter.ask.account_id]
        for load in (self.load, own):
            load.calls -= 1
            load.tokens -= waiter.ask.tokens
        if own.calls == 0:
            del self._by_account[waiter.ask.account_id]

    def take_next(self) -> Waiter | None:
        """The first who still waits leaves the queue. Whose turn ended in this very tick has not left yet: skipped."""
        while self._waiters:
            waiter = next(iter(self._waiters))
            self.leave(waiter)
            if not waiter.turn.done():
                return waiter
        return None
