"""Rates, slots and queues that several processes share."""

from __future__ import annotations

import asyncio
import uuid

import pytest
import redis

from apps.governor.store.memory import MemoryGovernor
from apps.governor.store.protocol import Admission, Shed
from apps.governor.store.redis.admissions import (
    LEASE_S,
    POLL_S,
    RENEW_S,
    TELL_ALL_EVERY,
    UNKNOWN_AGE_S,
    RedisAdmissions,
)
from apps.governor.store.redis.link import Link, LinkDown
from apps.governor.store.redis.names import Names
from tests.governor.contract_queue import QueueContract
from tests.governor.contract_rates import RatesContract
from tests.governor.properties import GovernorProperties
from tests.governor.redis_rig import LATE_S, RedisClock, RedisRig, RedisServerContract
from tests.governor.rig import ALICE, BOB, CHARLIE, MODEL, Rig, ask


class OverAdmissions(MemoryGovernor):
    """The rig's governor, of which only the admissions are looked at."""

    def __init__(self, admissions: RedisAdmissions) -> None:
        super().__init__()
        self.admissions = admissions
        self.admit = admissions.admit  # type: ignore[method-assign]
        self.finish = admissions.finish  # type: ignore[method-assign]
        self.figures = admissions.figures  # type: ignore[method-assign]


class AdmissionRig(RedisServerContract):
    async def make_rig(self) -> Rig:
        self.flush()
        time, link = RedisClock(), await self.linked()
        return RedisRig(governor=OverAdmissions(admissions(link, time, 1)), clock=time, links=[link])

    async def another(self, rig: Rig, *, deadline_s: float = LATE_S) -> RedisAdmissions:
        """Another process's."""
        assert isinstance(rig, RedisRig)
        assert isinstance(rig.clock, RedisClock)
        link = await self.linked(deadline_s=deadline_s)
        rig.links.append(link)
        return admissions(link, rig.clock, 2)


def admissions(link: Link, time: RedisClock, number: int) -> RedisAdmissions:
    made = RedisAdmissions(
        link,
        Names(0),
        process_id=uuid.UUID(int=number),
        monotonic=time.monotonic,
        now=time.now,
        call_later=time.call_later,
        told_time=time.told,
    )
    made.start()
    return made


class TestRedisAdmissions(AdmissionRig, RatesContract, QueueContract):
    async def test_processes_share_slots_and_rates(self, rig: Rig) -> None:
        other = await self.another(rig)
        await rig.governor.admit(ask(ALICE, rpm=3))
        admission = await other.admit(ask(BOB, rpm=3))
        assert (admission.concurrency_remaining, admission.rpm_remaining) == (0, 1)
        waiting = await rig.start(ask(CHARLIE, rpm=3))
        assert not waiting.done()
        with pytest.raises(Shed) as refused:
            await other.admit(ask(BOB, rpm=3))
        assert refused.value.code == "model_rpm"
        figures = (await rig.governor.figures())[MODEL]
        assert (figures.in_flight, figures.queued, figures.requests_in_minute) == (2, 1, 3)

    async def test_a_slot_goes_to_the_first_who_waits_in_whatever_process(self, rig: Rig) -> None:
        other = await self.another(rig)
        slots = await rig.fill(ask())
        theirs = asyncio.ensure_future(other.admit(ask(BOB)))
        rig.tasks.append(theirs)
        await rig.settle()
        ours = await rig.start(ask(CHARLIE))
        rig.governor.finish(slots[0], tokens=100)
        await rig.settle()
        assert (theirs.done(), ours.done()) == (True, False)
        rig.governor.finish(slots[1], tokens=100)
        await rig.settle()
        assert (await ours).ask.account_id == CHARLIE

    async def test_a_turn_that_nobody_heard_of_is_found_by_the_poll(self, rig: Rig) -> None:
        assert isinstance(rig, RedisRig)
        (first, _), waiting = await rig.fill(ask()), await rig.start(ask(BOB))
        rig.links[0]._listeners.clear()
        rig.governor.finish(first, tokens=100)
        await rig.settle()
        assert not waiting.done()
        await rig.advance(POLL_S)
        assert waiting.done()

    async def test_a_turn_that_nobody_takes_up_goes_to_the_next(self, rig: Rig) -> None:
        other = await self.another(rig)
        slots = await rig.fill(ask())
        deaf = await rig.start(ask(BOB, queue_s=60))
        assert isinstance(rig, RedisRig)
        rig.links[0]._listeners.clear()
        for path in self.of(rig)._paths.values():
            path.waiting.clear()  # nor does it poll
        await rig.advance(0.001)
        theirs = asyncio.ensure_future(other.admit(ask(CHARLIE, queue_s=60)))
        rig.tasks.append(theirs)
        await rig.settle()
        rig.governor.finish(slots[0], tokens=100)
        await rig.advance(0.9)
        assert not theirs.done()
        await rig.advance(0.5)
        assert (theirs.done(), deaf.done()) == (True, False)

    async def test_a_dead_process_keeps_nothing(self, rig: Rig) -> None:
        dead = await self.another(rig)
        for _ in range(2):
            await dead.admit(ask(ALICE))
        theirs = asyncio.ensure_future(dead.admit(ask(ALICE, queue_s=60)))
        rig.tasks.append(theirs)
        await rig.settle()
        waiting = await rig.start(ask(BOB, queue_s=60))
        dead.stop()
        await rig.advance(LEASE_S + POLL_S)
        assert waiting.done()
        figures = (await rig.governor.figures())[MODEL]
        assert (figures.in_flight, figures.queued) == (1, 0)

    async def test_a_process_that_lives_keeps_its_slots(self, rig: Rig) -> None:
        await rig.fill(ask())
        await rig.advance(600)
        assert (await rig.governor.figures())[MODEL].in_flight == 2

    async def test_a_flush_heals(self, rig: Rig) -> None:
        other = await self.another(rig)
        slots = [*await rig.fill(ask(concurrency=3)), *await self.fill_other(other, concurrency=5)]
        self.flush()
        await rig.advance(RENEW_S)
        assert (await other.figures())[MODEL].in_flight == len(slots) == 5
        late = await rig.start(ask(CHARLIE, concurrency=5))
        assert not late.done()
        rig.governor.finish(slots[0], tokens=100)
        await rig.settle()
        assert late.done()

    async def fill_other(self, other: RedisAdmissions, *, concurrency: int) -> list[Admission]:
        return [await other.admit(ask(BOB, concurrency=concurrency)) for _ in range(2)]

    async def test_who_waited_before_a_flush_is_told(self, rig: Rig) -> None:
        await rig.fill(ask())
        waiting = await rig.start(ask(BOB))
        self.flush()
        await rig.advance(POLL_S)
        assert isinstance(waiting.exception(), LinkDown)

    async def test_an_admission_whose_answer_is_lost_leaves_nothing(self, rig: Rig) -> None:
        hasty = await self.another(rig, deadline_s=0.05)
        await rig.governor.admit(ask())
        self.server.pause(300)
        with pytest.raises(LinkDown):
            await hasty.admit(ask())
        await asyncio.sleep(0.5)
        assert (await rig.governor.figures())[MODEL].in_flight == 2
        # It could not be given back while Redis was away; later it is found to be nobody's.
        await rig.advance(UNKNOWN_AGE_S + TELL_ALL_EVERY * RENEW_S)
        assert (await rig.governor.figures())[MODEL].in_flight == 1

    async def test_keys_go_by_themselves(self, rig: Rig) -> None:
        slots = await rig.fill(ask(key_rpm=5, key_model_rpm=5, ipm=5, images=1))
        waiting = await rig.start(ask(BOB, ipm=5))
        await rig.advance(1)
        with redis.Redis.from_url(self.server.url) as client:
            keys = [key.decode() for key in client.keys("*")]
            assert {0 < client.pttl(key) <= 130_000 for key in keys} == {True}, keys
        for admission in slots:
            rig.governor.finish(admission, tokens=100)
        await rig.settle()
        rig.governor.finish(await waiting, tokens=100)

    @staticmethod
    def of(rig: Rig) -> RedisAdmissions:
        assert isinstance(rig.governor, OverAdmissions)
        return rig.governor.admissions


class TestRedisAdmissionsProperties(AdmissionRig, GovernorProperties):
    pass
