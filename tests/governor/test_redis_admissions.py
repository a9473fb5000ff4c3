"""Rates, slots and queues that several processes share."""

from __future__ import annotations

import asyncio
import uuid

import pytest
import redis

from apps.governor.store.memory import MemoryGovernor
from apps.governor.store.protocol import Admission, Shed
from apps.governor.store.redis.admissions import RedisAdmissions
from apps.governor.store.redis.holdings import HEAL_S, LEASE_S, POLL_S, RENEW_S
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
        time, link = RedisClock(), self.link()
        governor = OverAdmissions(await admissions(link, time, 1))
        return RedisRig(governor=governor, clock=time, links=[link])

    async def another(self, rig: Rig, *, deadline_s: float = LATE_S) -> RedisAdmissions:
        """Another process's."""
        assert isinstance(rig, RedisRig)
        assert isinstance(rig.clock, RedisClock)
        link = self.link(deadline_s=deadline_s)
        rig.links.append(link)
        return await admissions(link, rig.clock, 2)


async def admissions(link: Link, time: RedisClock, number: int) -> RedisAdmissions:
    made = RedisAdmissions(
        link,
        Names(0),
        process_id=uuid.UUID(int=number),
        monotonic=time.monotonic,
        now=time.now,
        call_later=time.call_later,
        told_time=time.told,
    )
    await link.start()
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
        slots = await self.fill_other(other, concurrency=2)
        deaf = await rig.start(ask(BOB, queue_s=60))
        await rig.advance(0.125)
        theirs = asyncio.ensure_future(other.admit(ask(CHARLIE, queue_s=60)))
        rig.tasks.append(theirs)
        await rig.settle()
        self.of(rig).stop()
        self.link_of(rig)._listeners.clear()
        other.finish(slots[0], tokens=100)
        await rig.advance(0.875)
        assert not theirs.done()
        await rig.advance(0.375)
        assert (theirs.done(), deaf.done()) == (True, False)
        assert (await other.figures())[MODEL].queued == 0

    async def test_who_took_it_up_too_late_waits_where_it_stood(self, rig: Rig) -> None:
        other = await self.another(rig)
        slots = await self.fill_other(other, concurrency=2)
        slow = await rig.start(ask(BOB, queue_s=60))
        await rig.advance(0.125)
        behind = [asyncio.ensure_future(other.admit(ask(CHARLIE, queue_s=60))) for _ in range(2)]
        rig.tasks += behind
        await rig.settle()
        self.of(rig).stop()
        other.finish(slots[0], tokens=100)
        call = next(iter(self.of(rig)._holdings.waiting.values()))
        turn, call.turn = call.turn, None  # its process stands still
        await rig.advance(1.25)
        assert [task.done() for task in (slow, *behind)] == [False, True, False]
        self.of(rig).start()
        call.turn = turn
        call.hand()
        await rig.settle()
        other.finish(slots[1], tokens=100)
        await rig.settle()
        assert [task.done() for task in (slow, *behind)] == [True, True, False]

    async def test_a_dead_process_keeps_nothing(self, rig: Rig) -> None:
        dead = await self.another(rig)
        for _ in range(2):
            await dead.admit(ask(ALICE))
        theirs = asyncio.ensure_future(dead.admit(ask(ALICE, queue_s=60)))
        rig.tasks.append(theirs)
        await rig.settle()
        waiting = await rig.start(ask(BOB, queue_s=60))
        dead.stop()
        await rig.advance(LEASE_S - 0.125)
        assert not waiting.done()
        await rig.advance(POLL_S + 0.125)
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
        await rig.advance(HEAL_S)
        assert late.done()

    async def fill_other(self, other: RedisAdmissions, *, concurrency: int) -> list[Admission]:
        return [await other.admit(ask(BOB, concurrency=concurrency)) for _ in range(2)]

    async def test_a_flush_is_noticed_by_the_next_call(self, rig: Rig) -> None:
        slots = await rig.fill(ask(concurrency=3))
        waiting = [await rig.start(ask(who, concurrency=2)) for who in (BOB, CHARLIE)]
        self.flush()
        # The call that finds it takes a slot of the empty model; what ran before is told in the same breath.
        await rig.start(ask(ALICE, concurrency=2))
        figures = (await rig.governor.figures())[MODEL]
        assert (figures.in_flight, figures.queued, figures.queued_tokens) == (4, 2, 200)
        for slot in slots:
            rig.governor.finish(slot, tokens=100)
        await rig.settle()
        assert [task.done() for task in waiting] == [False, False], "others may hold what looks free"
        await rig.advance(HEAL_S)
        assert [task.done() for task in waiting] == [True, False]

    async def test_who_waits_keeps_its_place_over_a_flush(self, rig: Rig) -> None:
        other = await self.another(rig)
        slots = await rig.fill(ask())
        theirs = asyncio.ensure_future(other.admit(ask(BOB)))
        rig.tasks.append(theirs)
        await rig.settle()
        ours = await rig.start(ask(CHARLIE))
        self.flush()
        await rig.advance(POLL_S + HEAL_S)
        figures = (await rig.governor.figures())[MODEL]
        assert (figures.in_flight, figures.queued) == (2, 2)
        rig.governor.finish(slots[0], tokens=100)
        await rig.settle()
        assert (theirs.done(), ours.done()) == (True, False)

    async def test_an_admission_whose_answer_is_lost_leaves_nothing(self, rig: Rig) -> None:
        hasty = await self.another(rig, deadline_s=0.05)
        await rig.governor.admit(ask(concurrency=9))
        self.server.pause(300)
        with pytest.raises(LinkDown):
            await hasty.admit(ask(concurrency=9))
        await asyncio.sleep(0.5)
        assert (await rig.governor.figures())[MODEL].in_flight == 2
        await rig.advance(RENEW_S)
        figures = (await rig.governor.figures())[MODEL]
        assert (figures.in_flight, figures.requests_in_minute, figures.tokens_in_minute) == (1, 1, 100)

    async def test_what_ended_while_redis_was_away_is_told_later(self, rig: Rig) -> None:
        hasty = await self.another(rig, deadline_s=0.05)
        admission = await hasty.admit(ask(tokens=500))
        self.server.pause(300)
        with pytest.raises(LinkDown):
            await hasty.admit(ask())
        hasty.finish(admission, tokens=40)
        await asyncio.sleep(0.5)
        await rig.advance(RENEW_S)
        figures = (await hasty.figures())[MODEL]
        assert (figures.in_flight, figures.requests_in_minute, figures.tokens_in_minute) == (0, 1, 40)

    async def test_a_report_that_was_lost_gives_the_slot_back_at_the_next_renewal(self, rig: Rig) -> None:
        await rig.governor.admit(ask())
        self.of(rig)._holdings.paths[MODEL].held.clear()
        await rig.advance(RENEW_S)
        assert (await rig.governor.figures())[MODEL].in_flight == 0

    async def test_a_call_is_finished_once(self, rig: Rig) -> None:
        admission = await rig.governor.admit(ask(tokens=500))
        for _ in range(2):
            admission.is_finished = False
            rig.governor.finish(admission, tokens=100)
        assert (await rig.governor.figures())[MODEL].tokens_in_minute == 100

    async def test_a_slot_given_without_redis_is_counted_once_it_is_back(self, rig: Rig) -> None:
        admissions = self.of(rig)
        await rig.governor.admit(ask())
        adopted = admissions.adopt(ask())
        await rig.advance(RENEW_S)
        assert (await rig.governor.figures())[MODEL].in_flight == 2
        admissions.release(ask(), adopted)
        figures = (await rig.governor.figures())[MODEL]
        assert (figures.in_flight, figures.tokens_in_minute) == (1, 100)

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
    def link_of(rig: Rig) -> Link:
        assert isinstance(rig, RedisRig)
        return rig.links[0]

    @staticmethod
    def of(rig: Rig) -> RedisAdmissions:
        assert isinstance(rig.governor, OverAdmissions)
        return rig.governor.admissions


class TestRedisAdmissionsProperties(AdmissionRig, GovernorProperties):
    pass
