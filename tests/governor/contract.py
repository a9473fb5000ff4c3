"""What every governor promises, whatever it keeps its figures in. A store's own test module subclasses this."""

from __future__ import annotations

import asyncio

import pytest

from apps.governor.store.protocol import Shed
from tests.governor.contract_queue import QueueContract
from tests.governor.contract_rates import RatesContract
from tests.governor.rig import Rig, RigContract, ask, capacity


class CircuitContract(RigContract):
    async def fail(self, rig: Rig, times: int, *, route: str = "a") -> None:
        for _ in range(times):
            assert await rig.governor.may_call(route)
            await self.report(rig, route, ok=False)

    async def report(self, rig: Rig, route: str, *, ok: bool, began_at: float | None = None) -> None:
        rig.governor.report(route, ok=ok, began_at=began_at)
        await rig.settle()

    async def test_an_unknown_route_is_closed(self, rig: Rig) -> None:
        assert (rig.governor.circuit("a"), await rig.governor.may_call("a")) == ("closed", True)

    async def test_ten_failures_open_that_route_only(self, rig: Rig) -> None:
        await self.fail(rig, 9)
        assert rig.governor.circuit("a") == "closed"
        await self.fail(rig, 1)
        assert (rig.governor.circuit("a"), await rig.governor.may_call("a")) == ("open", False)
        assert (rig.governor.circuit("b"), await rig.governor.may_call("b")) == ("closed", True)

    async def test_more_successes_than_failures_keep_it_closed(self, rig: Rig) -> None:
        for _ in range(10):
            await self.report(rig, "a", ok=True)
        await rig.advance(1)
        await self.fail(rig, 9)
        assert rig.governor.circuit("a") == "closed"
        await self.fail(rig, 1)
        assert rig.governor.circuit("a") == "open"

    async def test_what_failed_half_a_minute_ago_is_forgotten(self, rig: Rig) -> None:
        await self.fail(rig, 9)
        await rig.advance(30)
        await self.fail(rig, 9)
        assert rig.governor.circuit("a") == "closed"

    async def test_one_probe_goes_out_however_many_ask(self, rig: Rig) -> None:
        await self.fail(rig, 10)
        await rig.advance(9.875)
        assert rig.governor.circuit("a") == "open"
        await rig.advance(0.125)
        assert rig.governor.circuit("a") == "half_open"
        asked = await asyncio.gather(*(rig.governor.may_call("a") for _ in range(100)))
        assert asked.count(True) == 1
        await self.report(rig, "a", ok=True)
        assert rig.governor.circuit("a") == "closed"
        assert all(await asyncio.gather(*(rig.governor.may_call("a") for _ in range(100))))

    async def test_a_failed_probe_opens_it_for_twice_as_long(self, rig: Rig) -> None:
        await self.fail(rig, 10)
        for seconds in (10, 20, 40, 60, 60):
            await rig.advance(seconds - 0.125)
            assert rig.governor.circuit("a") == "open"
            await rig.advance(0.125)
            assert await rig.governor.may_call("a")
            await self.report(rig, "a", ok=False)
        await rig.advance(60)
        assert await rig.governor.may_call("a")
        await self.report(rig, "a", ok=True)
        await self.fail(rig, 10)
        await rig.advance(10)
        assert rig.governor.circuit("a") == "half_open"

    async def test_a_probe_that_nobody_reports_is_forgotten(self, rig: Rig) -> None:
        await self.fail(rig, 10)
        await rig.advance(10)
        assert await rig.governor.may_call("a")
        await rig.advance(60)
        assert not await rig.governor.may_call("a")
        await rig.advance(0.125)
        assert await rig.governor.may_call("a")

    async def test_reports_of_calls_from_before_are_not_the_probe(self, rig: Rig) -> None:
        before = rig.clock.monotonic()
        await rig.advance(1)
        await self.fail(rig, 10)
        await rig.advance(10)
        assert await rig.governor.may_call("a")
        await self.report(rig, "a", ok=True, began_at=before)
        await self.report(rig, "a", ok=False, began_at=before)
        assert rig.governor.circuit("a") == "half_open"
        await self.report(rig, "a", ok=True, began_at=rig.clock.monotonic())
        assert rig.governor.circuit("a") == "closed"


class GovernorContract(RatesContract, QueueContract, CircuitContract):
    """All of it: rates, slots and queue, circuits."""

    async def test_a_new_policy_counts_what_was_counted(self, rig: Rig) -> None:
        generous, strict = capacity(rpm=100), capacity(rpm=2)
        await rig.fill(ask(limits=generous))
        with pytest.raises(Shed) as refused:
            await rig.governor.admit(ask(limits=strict))
        assert refused.value.facts is not None
        assert (refused.value.code, refused.value.facts.value, refused.value.facts.used) == ("model_rpm", 2, 2)
