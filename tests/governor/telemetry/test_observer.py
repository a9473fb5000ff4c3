"""Processes that report to each other over a Redis server of the tests' own."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from apps.governor.store.memory import MemoryGovernor
from apps.governor.telemetry import board as boards
from apps.governor.telemetry import observer as observers
from apps.governor.telemetry.board import Board
from apps.governor.telemetry.observer import Observer
from apps.governor.telemetry.tally import Telemetry
from tests.governor.redis_rig import RedisServerContract
from tests.governor.rig import MODEL, ask
from tests.governor.telemetry.rig import CATALOG, served


class Process:
    """A web process, as far as it counts calls."""

    def __init__(self, url: str | None) -> None:
        self.telemetry = Telemetry()
        self.governor = MemoryGovernor()
        board = None if url is None else Board(url, uuid.uuid4())
        self.observer = Observer(self.telemetry, self.governor, lambda: CATALOG, process="web", board=board)

    async def kill(self) -> None:
        """It posts nothing more, and says no good-bye."""
        posting = self.observer._posting
        assert posting is not None
        posting.cancel()
        await asyncio.gather(posting, return_exceptions=True)


async def soon(look: Callable[[], Any], *, timeout_s: float = 10.0) -> Any:
    """What `look` comes to, once that is true."""
    deadline = time.monotonic() + timeout_s
    while not (found := await look()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    return found


class TestOverRedis(RedisServerContract):
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(observers, "POST_S", 0.05)
        monkeypatch.setattr(observers, "RENEW_S", 0.3)
        monkeypatch.setattr(boards, "LIFE_S", 1)

    @pytest.fixture
    async def pair(self) -> AsyncIterator[tuple[Process, Process]]:
        self.flush()
        one, other = Process(self.server.url), Process(self.server.url)
        for process in (one, other):
            process.observer.start()
        yield one, other
        for process in (one, other):
            await process.observer.stop()

    async def test_either_shows_the_calls_of_both(self, pair: tuple[Process, Process]) -> None:
        one, other = pair
        served(one.telemetry)
        for _ in range(2):
            served(other.telemetry)
        await other.governor.admit(ask())
        for process in pair:

            async def all_of_it(process: Process = process) -> bool:
                shown = await process.observer.look()
                return (shown.processes, shown.minute.calls, shown.in_flight, shown.is_complete) == (2, 3, 1, True)

            await soon(all_of_it)

    async def test_a_dead_process_disappears_and_its_counts_stay(self, pair: tuple[Process, Process]) -> None:
        one, other = pair
        served(other.telemetry)

        async def is_posted() -> bool:
            return (await one.observer.totals()).get((MODEL, "r1"), {}).get("succeeded") == 1

        await soon(is_posted)
        await other.kill()

        async def is_alone() -> bool:
            return (await one.observer.look()).processes == 1

        await soon(is_alone)
        assert (await one.observer.look()).minute.calls == 0
        assert (await one.observer.totals())[MODEL, "r1"]["succeeded"] == 1

    async def test_totals_never_shrink_while_redis_is_away(self, pair: tuple[Process, Process]) -> None:
        one, other = pair
        served(other.telemetry)

        async def has(count: int) -> bool:
            return (await one.observer.totals()).get((MODEL, "r1"), {}).get("succeeded") == count

        await soon(lambda: has(1))
        self.server.kill()
        served(one.telemetry)
        shown = await one.observer.look()
        assert (shown.is_complete, shown.processes, shown.minute.calls) == (False, 1, 1)
        assert await has(2)
        self.server.start()  # and has forgotten everything

        async def is_back() -> bool:
            return (await one.observer.look()).processes == 2

        await soon(is_back)

    async def test_a_process_that_stops_takes_its_report_and_leaves_its_counts(self) -> None:
        self.flush()
        one, other = Process(self.server.url), Process(self.server.url)
        for process in (one, other):
            process.observer.start()
        served(other.telemetry)
        await other.observer.stop()
        assert (await one.observer.look()).processes == 1
        assert (await one.observer.totals())[MODEL, "r1"]["succeeded"] == 1
        await one.observer.stop()


async def test_alone_it_is_the_installation() -> None:
    process = Process(None)
    process.observer.start()
    served(process.telemetry)
    shown = await process.observer.look()
    assert (shown.processes, shown.is_complete, shown.minute.calls) == (1, True, 1)
    assert (await process.observer.totals())[MODEL, "r1"]["succeeded"] == 1
    await process.observer.stop()
