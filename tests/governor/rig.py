"""A governor on a bench: time moves only when a test says so, calls wait in tasks, callers have names."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.catalog.rules import Capacity
from apps.governor.store.protocol import Admission, Ask, Governor

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
START_S = 4096.0

ALICE, BOB, CHARLIE = (uuid.UUID(int=number) for number in (0xA, 0xB, 0xC))
MODEL = "gpt-5-5"


def capacity(**changes: Any) -> Capacity:
    figures: dict[str, Any] = {
        "concurrency": 2,
        "rpm": 1_000,
        "tpm": 1_000_000,
        "ipm": None,
        "queue_s": 5,
        "queue_length": 8,
        "queue_tokens": 10_000,
    }
    return Capacity(**{**figures, **changes})


def ask(
    who: uuid.UUID = ALICE,
    *,
    model: str = MODEL,
    key: uuid.UUID | None = None,
    account_rpm: int = 10_000,
    key_rpm: int | None = None,
    key_model_rpm: int | None = None,
    tokens: int = 100,
    images: int = 0,
    limits: Capacity | None = None,
    **capacity_changes: Any,
) -> Ask:
    """One call of `who`; what is left over changes the model's policy."""
    return Ask(
        account_id=who,
        key_id=key or uuid.UUID(int=who.int + 0x100),
        model_id=model,
        capacity=limits or capacity(**capacity_changes),
        account_rpm=account_rpm,
        key_rpm=key_rpm,
        key_model_rpm=key_model_rpm,
        tokens=tokens,
        images=images,
    )


@dataclass
class FakeTimer:
    callback: Callable[[], None]
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeClock:
    """Monotonic seconds, wall clock and timers that agree with each other."""

    def __init__(self) -> None:
        self.seconds = START_S
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds - START_S)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(callback)
        heapq.heappush(self._timers, (self.seconds + delay_s, next(self._order), timer))
        return timer

    @property
    def armed(self) -> int:
        """Timers that would still fire."""
        return sum(not timer.is_cancelled for _, _, timer in self._timers)

    def move_to_next_timer(self, until: float) -> bool:
        """Jump to the first timer due by `until` and fire it; where there is none, jump to `until`."""
        while self._timers and self._timers[0][0] <= until:
            due_at, _, timer = heapq.heappop(self._timers)
            if not timer.is_cancelled:
                self.seconds = max(self.seconds, due_at)
                timer.callback()
                return True
        self.seconds = until
        return False


@dataclass
class Rig:
    """One governor and its clock. A store across a network overrides `settle` and `close`."""

    governor: Governor
    clock: FakeClock
    tasks: list[asyncio.Task[Admission]] = field(default_factory=list)

    async def settle(self) -> None:
        """Let everything happen that happens without time passing."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        until = self.clock.seconds + seconds
        while self.clock.move_to_next_timer(until):
            await self.settle()
        await self.settle()

    async def start(self, call: Ask, *, gone: asyncio.Future[Any] | None = None) -> asyncio.Task[Admission]:
        """A call in a task of its own: done where it was admitted or shed at once, else waiting."""
        task = asyncio.ensure_future(self.governor.admit(call, gone=gone))
        self.tasks.append(task)
        await self.settle()
        return task

    async def fill(self, call: Ask) -> list[Admission]:
        """Take every slot of the call's model."""
        return [await self.governor.admit(call) for _ in range(call.capacity.concurrency)]

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class RigContract:
    """Gives each test a rig; a store says how one is made."""

    async def make_rig(self) -> Rig:
        raise NotImplementedError

    @pytest.fixture
    async def rig(self) -> AsyncIterator[Rig]:
        rig = await self.make_rig()
        yield rig
        await rig.close()
