"""Slots and queue: what every governor promises about waiting, whatever it keeps them in."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from apps.core.errors import LimitFacts
from apps.governor.store.protocol import CallerGone, ModelFigures, Shed
from tests.governor.rig import ALICE, BOB, CHARLIE, MODEL, NOON, Rig, RigContract, ask


class QueueContract(RigContract):
    async def test_slots_are_given_back_once(self, rig: Rig) -> None:
        first, second = await rig.fill(ask())
        rig.governor.finish(first, tokens=100)
        rig.governor.finish(first, tokens=100)
        assert (await rig.governor.figures())[MODEL].in_flight == 1
        rig.governor.finish(second, tokens=100)
        assert (await rig.governor.figures())[MODEL].in_flight == 0

    async def test_a_waiting_call_gets_the_slot_of_the_call_that_ends(self, rig: Rig) -> None:
        first, _ = await rig.fill(ask())
        waiting = await rig.start(ask(BOB, account_rpm=10))
        assert (waiting.done(), (await rig.governor.figures())[MODEL].queued) == (False, 1)
        await rig.advance(1.5)
        rig.governor.finish(first, tokens=100)
        assert (await rig.governor.figures())[MODEL].in_flight == 2
        admission = await waiting
        assert (admission.queue_ms, admission.concurrency_remaining, admission.account_remaining) == (1_500, 0, 9)
        assert (await rig.governor.figures())[MODEL].queued == 0

    async def test_nobody_slips_between_the_end_of_a_call_and_the_first_waiter(self, rig: Rig) -> None:
        first, _ = await rig.fill(ask())
        waiting = await rig.start(ask(BOB))
        rig.governor.finish(first, tokens=100)
        late = await rig.start(ask(CHARLIE))
        assert (waiting.done(), late.done()) == (True, False)

    async def test_first_come_first_served(self, rig: Rig) -> None:
        slots = await rig.fill(ask(concurrency=3))
        callers = [await rig.start(ask(who, concurrency=3)) for who in (BOB, ALICE, CHARLIE, BOB)]
        order = []
        for admission in slots:
            rig.governor.finish(admission, tokens=100)
            await rig.settle()
            order.append([task.done() for task in callers].count(True))
            assert all(task.done() for task in callers[: order[-1]])
        assert order == [1, 2, 3]

    async def test_a_model_without_a_queue_refuses_at_once(self, rig: Rig) -> None:
        await rig.fill(ask(queue_s=0))
        with pytest.raises(Shed) as refused:
            await rig.governor.admit(ask(BOB, queue_s=0))
        assert (refused.value.code, refused.value.status, refused.value.status_for(anthropic=True)) == (
            "queue_full",
            503,
            529,
        )
        assert refused.value.facts == LimitFacts(limit="concurrency", value=2, used=2)
        assert refused.value.retry_after_s == 1
        assert (await rig.governor.figures())[MODEL].requests_in_minute == 2

    async def test_a_full_queue_says_when_a_place_is_free(self, rig: Rig) -> None:
        slots = await rig.fill(ask())
        for who in (ALICE, BOB, ALICE, BOB):
            await rig.start(ask(who, queue_length=4))
        await rig.advance(1.25)
        with pytest.raises(Shed) as refused:
            await rig.governor.admit(ask(CHARLIE, queue_length=4))
        assert (refused.value.code, refused.value.retry_after_s) == ("queue_full", 4)
        assert refused.value.facts == LimitFacts(
            limit="queue_length", value=4, used=4, resets_at=NOON + timedelta(seconds=5)
        )
        rig.governor.finish(slots[0], tokens=100)
        await rig.start(ask(CHARLIE, queue_length=4))
        assert (await rig.governor.figures())[MODEL].queued == 4

    async def test_a_queue_is_full_by_its_tokens_too(self, rig: Rig) -> None:
        await rig.fill(ask())
        await rig.start(ask(ALICE, tokens=5_000))
        await rig.start(ask(BOB, tokens=4_000))
        with pytest.raises(Shed) as refused:
            await rig.governor.admit(ask(CHARLIE, tokens=1_001))
        assert refused.value.facts is not None
        assert (refused.value.code, refused.value.facts.limit) == ("queue_full", "queue_tokens")
        assert (refused.value.facts.value, refused.value.facts.used) == (10_000, 9_000)
        await rig.start(ask(CHARLIE, tokens=1_000))
        assert (await rig.governor.figures())[MODEL].queued_tokens == 10_000

    async def test_no_account_takes_more_than_half_of_the_queue(self, rig: Rig) -> None:
        await rig.fill(ask())
        for _ in range(4):
            await rig.start(ask(ALICE))
        with pytest.raises(Shed) as refused:
            await rig.governor.admit(ask(ALICE))
        assert refused.value.facts == LimitFacts(
            limit="account_queue_length", value=4, used=4, resets_at=NOON + timedelta(seconds=5)
        )
        for _ in range(4):
            await rig.start(ask(BOB))
        assert (await rig.governor.figures())[MODEL].queued == 8

    async def test_no_account_takes_more_than_half_of_the_queued_tokens(self, rig: Rig) -> None:
        await rig.fill(ask())
        await rig.start(ask(ALICE, tokens=3_000))
        with pytest.raises(Shed) as refused:
            await rig.governor.admit(ask(ALICE, tokens=2_001))
        assert refused.value.facts is not None
        assert (refused.value.facts.limit, refused.value.facts.value) == ("account_queue_tokens", 5_000)
        await rig.start(ask(ALICE, tokens=2_000))
        assert (await rig.governor.figures())[MODEL].queued_tokens == 5_000

    async def test_a_queue_of_one_place_still_serves_everyone(self, rig: Rig) -> None:
        await rig.fill(ask())
        waiting = await rig.start(ask(ALICE, queue_length=1, tokens=9_000))
        assert (waiting.done(), (await rig.governor.figures())[MODEL].queued) == (False, 1)

    async def test_a_call_that_waited_long_enough_is_shed_and_not_counted(self, rig: Rig) -> None:
        await rig.fill(ask())
        waiting = await rig.start(ask(BOB, account_rpm=5, tokens=700))
        assert (await rig.governor.figures())[MODEL].tokens_in_minute == 900
        await rig.advance(4.875)
        assert not waiting.done()
        await rig.advance(0.125)
        with pytest.raises(Shed) as refused:
            await waiting
        assert (refused.value.code, refused.value.status, refused.value.retry_after_s) == ("queue_timeout", 503, 5)
        assert refused.value.facts == LimitFacts(limit="concurrency", value=2, used=2)
        figures = (await rig.governor.figures())[MODEL]
        assert (figures.queued, figures.requests_in_minute, figures.tokens_in_minute) == (0, 2, 200)
        assert figures.shed == {"queue_timeout": 1}

    async def test_a_waiting_call_counts_towards_the_rates(self, rig: Rig) -> None:
        await rig.fill(ask())
        waiting = await rig.start(ask(BOB, account_rpm=1))
        with pytest.raises(Shed) as refused:
            await rig.governor.admit(ask(BOB, account_rpm=1))
        assert refused.value.code == "account_rpm"
        waiting.cancel()
        await rig.settle()
        await rig.start(ask(BOB, account_rpm=1))
        assert (await rig.governor.figures())[MODEL].queued == 1

    async def test_a_cancelled_call_leaves_the_queue_at_once(self, rig: Rig) -> None:
        first, _ = await rig.fill(ask())
        cancelled, waiting = await rig.start(ask(BOB)), await rig.start(ask(CHARLIE))
        cancelled.cancel()
        await rig.settle()
        assert (await rig.governor.figures())[MODEL].queued == 1
        rig.governor.finish(first, tokens=100)
        assert (await waiting).ask.account_id == CHARLIE
        assert (await rig.governor.figures())[MODEL].requests_in_minute == 3

    async def test_a_caller_that_hangs_up_leaves_the_queue_at_once(self, rig: Rig) -> None:
        await rig.fill(ask())
        gone = asyncio.get_running_loop().create_future()
        waiting = await rig.start(ask(BOB), gone=gone)
        gone.set_result(None)
        await rig.settle()
        assert (await rig.governor.figures())[MODEL].queued == 0
        with pytest.raises(CallerGone):
            await waiting
        figures = (await rig.governor.figures())[MODEL]
        assert (figures.in_flight, figures.requests_in_minute, figures.shed) == (2, 2, {})

    async def test_a_caller_that_has_hung_up_does_not_wait(self, rig: Rig) -> None:
        await rig.fill(ask())
        gone = asyncio.get_running_loop().create_future()
        gone.set_result(None)
        with pytest.raises(CallerGone):
            await rig.governor.admit(ask(BOB), gone=gone)
        assert (await rig.governor.figures())[MODEL].queued == 0

    async def test_a_watcher_that_stops_watching_is_no_hang_up(self, rig: Rig) -> None:
        first, _ = await rig.fill(ask())
        gone = asyncio.get_running_loop().create_future()
        waiting = await rig.start(ask(BOB), gone=gone)
        gone.cancel()
        await rig.settle()
        rig.governor.finish(first, tokens=100)
        assert (await waiting).ask.account_id == BOB

    async def test_the_watcher_of_an_admitted_call_is_left_alone(self, rig: Rig) -> None:
        first, _ = await rig.fill(ask())
        gone = asyncio.get_running_loop().create_future()
        waiting = await rig.start(ask(BOB), gone=gone)
        rig.governor.finish(first, tokens=100)
        await waiting
        assert not gone.done()
        gone.set_result(None)
        await rig.settle()
        assert (await rig.governor.figures())[MODEL].in_flight == 2

    @pytest.mark.parametrize("order", ["granted, then cancelled", "cancelled, then granted"])
    async def test_a_slot_given_in_the_tick_of_a_cancel_goes_to_the_next(self, rig: Rig, order: str) -> None:
        first, _ = await rig.fill(ask())
        cancelled, waiting = await rig.start(ask(BOB)), await rig.start(ask(CHARLIE))
        if order == "granted, then cancelled":
            rig.governor.finish(first, tokens=100)
            cancelled.cancel()
        else:
            cancelled.cancel()
            rig.governor.finish(first, tokens=100)
        await rig.settle()
        assert (cancelled.cancelled(), waiting.done()) == (True, True)
        figures = (await rig.governor.figures())[MODEL]
        assert (figures.in_flight, figures.queued, figures.requests_in_minute) == (2, 0, 3)

    @pytest.mark.parametrize("order", ["granted, then gone", "gone, then granted"])
    async def test_a_slot_given_in_the_tick_of_a_hang_up_goes_to_the_next(self, rig: Rig, order: str) -> None:
        first, _ = await rig.fill(ask())
        gone = asyncio.get_running_loop().create_future()
        left, waiting = await rig.start(ask(BOB), gone=gone), await rig.start(ask(CHARLIE))
        if order == "granted, then gone":
            rig.governor.finish(first, tokens=100)
            gone.set_result(None)
        else:
            gone.set_result(None)
            rig.governor.finish(first, tokens=100)
        await rig.settle()
        assert isinstance(left.exception(), CallerGone)
        assert waiting.done()
        figures = (await rig.governor.figures())[MODEL]
        assert (figures.in_flight, figures.queued, figures.requests_in_minute) == (2, 0, 3)

    async def test_the_last_slot_given_to_a_cancelled_call_is_free_again(self, rig: Rig) -> None:
        admission = await rig.governor.admit(ask(concurrency=1))
        cancelled = await rig.start(ask(BOB, concurrency=1))
        rig.governor.finish(admission, tokens=None)
        cancelled.cancel()
        await rig.settle()
        figures = (await rig.governor.figures())[MODEL]
        assert (figures.in_flight, figures.queued, figures.requests_in_minute, figures.tokens_in_minute) == (0, 0, 1, 0)

    async def test_more_slots_serve_those_who_wait_before_those_who_come(self, rig: Rig) -> None:
        await rig.fill(ask())
        waiting = [await rig.start(ask(who)) for who in (BOB, CHARLIE)]
        late = await rig.start(ask(ALICE, concurrency=4))
        assert [task.done() for task in (*waiting, late)] == [True, True, False]

    async def test_fewer_slots_are_reached_as_calls_end(self, rig: Rig) -> None:
        slots = await rig.fill(ask(concurrency=3))
        waiting = await rig.start(ask(BOB, concurrency=1))
        for admission in slots[:2]:
            rig.governor.finish(admission, tokens=100)
            await rig.settle()
        assert (waiting.done(), (await rig.governor.figures())[MODEL].in_flight) == (False, 1)
        rig.governor.finish(slots[2], tokens=100)
        assert (await waiting).concurrency_remaining == 0

    async def test_models_do_not_share_slots(self, rig: Rig) -> None:
        await rig.fill(ask())
        admission = await rig.governor.admit(ask(model="kimi-latest"))
        assert admission.concurrency_remaining == 1

    async def test_figures_show_each_model(self, rig: Rig) -> None:
        await rig.fill(ask(tokens=300, images=2, ipm=9))
        await rig.start(ask(BOB, tokens=200, ipm=9))
        with pytest.raises(Shed):
            await rig.governor.admit(ask(CHARLIE, rpm=3))
        assert (await rig.governor.figures()) == {
            MODEL: ModelFigures(
                concurrency=2,
                in_flight=2,
                queued=1,
                queued_tokens=200,
                requests_in_minute=3,
                tokens_in_minute=800,
                images_in_minute=4,
                admitted=2,
                shed={"model_rpm": 1},
            )
        }
