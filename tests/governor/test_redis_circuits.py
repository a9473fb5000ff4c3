"""Circuits that several processes share."""

from __future__ import annotations

import asyncio
from typing import Any

from apps.governor.store.memory import MemoryGovernor
from apps.governor.store.redis.circuits import RedisCircuits
from apps.governor.store.redis.link import Link
from apps.governor.store.redis.names import Names
from tests.governor.contract import CircuitContract
from tests.governor.redis_rig import RedisClock, RedisRig, RedisServerContract
from tests.governor.rig import Rig


class OverCircuits(MemoryGovernor):
    """The rig's governor, of which only the circuits are looked at."""

    def __init__(self, circuits: RedisCircuits) -> None:
        super().__init__()
        self.circuit = circuits.circuit  # type: ignore[method-assign]
        self.may_call = circuits.may_call  # type: ignore[method-assign]
        self.report = circuits.report  # type: ignore[method-assign]


class CircuitRig(RedisServerContract):
    async def make_rig(self) -> Rig:
        self.flush()
        clock, link = RedisClock(), await self.linked()
        return RedisRig(governor=OverCircuits(circuits(link, clock)), clock=clock, links=[link])

    async def another(self, rig: Rig) -> RedisCircuits:
        """Another process's."""
        assert isinstance(rig, RedisRig)
        assert isinstance(rig.clock, RedisClock)
        link = await self.linked()
        rig.links.append(link)
        return circuits(link, rig.clock)


def circuits(link: Link, clock: RedisClock) -> RedisCircuits:
    return RedisCircuits(link, Names(0), monotonic=clock.monotonic, call_later=clock.call_later, told_time=clock.told)


class TestRedisCircuits(CircuitRig, CircuitContract):
    async def test_processes_count_together_and_all_hear_of_it(self, rig: Rig) -> None:
        other = await self.another(rig)
        for _ in range(5):
            await self.report(rig, "a", ok=False)
            other.report("a", ok=False)
            await rig.settle()
        assert (rig.governor.circuit("a"), other.circuit("a")) == ("open", "open")
        assert not await other.may_call("a")

    async def test_one_probe_of_all_processes(self, rig: Rig) -> None:
        others = [await self.another(rig) for _ in range(3)]
        await self.fail(rig, 10)
        await rig.advance(10)
        everyone: list[Any] = [rig.governor, *others]
        asked = [one.may_call("a") for one in everyone for _ in range(25)]
        assert (await asyncio.gather(*asked)).count(True) == 1
        others[0].report("a", ok=True)
        await rig.settle()
        assert {one.circuit("a") for one in everyone} == {"closed"}

    async def test_successes_that_are_told_late_are_no_probe(self, rig: Rig) -> None:
        other = await self.another(rig)
        await self.fail(rig, 10)
        await rig.advance(10)
        assert await rig.governor.may_call("a")
        # A process that has not heard of the opening yet.
        other._copies.clear()
        other.report("a", ok=True)
        await rig.advance(0.25)
        assert (rig.governor.circuit("a"), other.circuit("a")) == ("half_open", "half_open")

    async def test_a_healthy_route_costs_no_command_per_call(self, rig: Rig) -> None:
        assert isinstance(rig, RedisRig)
        asked = rig.links[0].asked
        for _ in range(1_000):
            assert await rig.governor.may_call("a")
            rig.governor.report("a", ok=True)
        assert rig.links[0].asked == asked
        await rig.advance(1)
        await self.fail(rig, 999)
        assert rig.governor.circuit("a") == "closed", "the successes were told"

    async def test_a_flush_forgets_and_an_open_circuit_asks_again_when_its_time_has_come(self, rig: Rig) -> None:
        await self.fail(rig, 10)
        self.flush()
        assert not await rig.governor.may_call("a")
        await rig.advance(10)
        assert await rig.governor.may_call("a")
        assert rig.governor.circuit("a") == "closed"

    async def test_without_redis_each_process_goes_by_what_it_sees(self, rig: Rig) -> None:
        assert isinstance(rig, RedisRig)
        await self.fail(rig, 10, route="known")
        await rig.links[0].stop()
        await self.fail(rig, 10, route="new")
        assert (rig.governor.circuit("known"), rig.governor.circuit("new")) == ("open", "open")
        await rig.advance(10)
        for route in ("known", "new"):
            asked = await asyncio.gather(*(rig.governor.may_call(route) for _ in range(10)))
            assert asked.count(True) == 1
            await self.report(rig, route, ok=True)
            assert rig.governor.circuit(route) == "closed"
