from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest

from apps.governor.store.memory import MemoryGovernor
from apps.governor.store.protocol import Admission, CallerGone, Governor, Minute, Shed
from tests.governor.contract import GovernorContract
from tests.governor.properties import GovernorProperties
from tests.governor.rig import ALICE, BOB, NOON, FakeClock, Rig, ask


class MemoryRig:
    async def make_rig(self) -> Rig:
        clock = FakeClock()
        governor = MemoryGovernor(monotonic=clock.monotonic, now=clock.now, call_later=clock.call_later)
        return Rig(governor=governor, clock=clock)


class TestMemoryGovernor(MemoryRig, GovernorContract):
    @pytest.mark.parametrize("code", ["account_rpm", "key_rpm", "key_model_rpm", "rpm"])
    async def test_the_request_limit_that_leaves_least_is_told(self, rig: Rig, code: str) -> None:
        await rig.governor.admit(ask(BOB, rpm=90))  # counts towards the model alone
        await rig.advance(10)
        limits: dict[str, Any] = {"account_rpm": 70, "key_rpm": 70, "key_model_rpm": 70, "rpm": 90, code: 5}
        for left in (3, 2) if code == "rpm" else (4, 3):
            admission = await rig.governor.admit(ask(concurrency=9, **limits))
            resets_in_s = 60 if code == "rpm" else 70
            assert admission.requests == Minute(5, left, NOON + timedelta(seconds=resets_in_s))

    async def test_the_models_tokens_are_told(self, rig: Rig) -> None:
        await rig.governor.admit(ask(BOB, tokens=100, tpm=1_000))
        await rig.advance(10)
        admission = await rig.governor.admit(ask(tokens=400, tpm=1_000))
        assert admission.tokens == Minute(1_000, 500, NOON + timedelta(seconds=60))


class TestMemoryGovernorProperties(MemoryRig, GovernorProperties):
    pass


def test_it_is_a_governor() -> None:
    governor: Governor = MemoryGovernor(mode="degraded")
    assert governor.mode == "degraded"


def test_a_free_slot_needs_no_event_loop() -> None:
    governor = MemoryGovernor()
    admitting = governor.admit(ask())
    with pytest.raises(StopIteration) as done:
        admitting.send(None)
    admission: Admission = done.value.value
    assert admission.concurrency_remaining == 1


async def test_the_default_timer_is_the_event_loops() -> None:
    governor = MemoryGovernor()
    await governor.admit(ask(concurrency=1))
    with pytest.raises(Shed) as refused:
        await governor.admit(ask(BOB, concurrency=1, queue_s=1))
    assert refused.value.code == "queue_timeout"


async def test_a_wait_leaves_no_timer_behind() -> None:
    rig = await MemoryRig().make_rig()
    first, _ = await rig.fill(ask())
    served, cancelled = await rig.start(ask(BOB)), await rig.start(ask(BOB))
    assert rig.clock.armed == 2
    rig.governor.finish(first, tokens=100)
    cancelled.cancel()
    await rig.settle()
    assert (served.done(), rig.clock.armed) == (True, 0)


async def test_a_bare_awaitable_is_watched_and_then_cancelled() -> None:
    rig = await MemoryRig().make_rig()
    await rig.fill(ask())
    hung_up = asyncio.Event()
    waiting = asyncio.ensure_future(rig.governor.admit(ask(BOB), gone=hung_up.wait()))
    abandoned = asyncio.ensure_future(rig.governor.admit(ask(ALICE), gone=asyncio.Event().wait()))
    await rig.settle()
    hung_up.set()
    abandoned.cancel()
    await rig.settle()
    assert isinstance(waiting.exception(), CallerGone)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_quiet_accounts_and_keys_are_forgotten() -> None:
    clock = FakeClock()
    governor = MemoryGovernor(monotonic=clock.monotonic, now=clock.now, call_later=clock.call_later)
    meters = (governor._accounts, governor._keys, governor._key_models)
    for number in range(1_000):
        caller = uuid.UUID(int=number)
        governor.finish(await governor.admit(ask(caller, key_rpm=5, key_model_rpm=5, rpm=5_000)), tokens=None)
    assert [len(each) for each in meters] == [1_000, 1_000, 1_000]
    clock.seconds += 61
    for number in range(1_000, 2_000):
        governor.finish(await governor.admit(ask(uuid.UUID(int=number), key_rpm=5, key_model_rpm=5)), tokens=None)
    assert [len(each) for each in meters] == [1_000, 1_000, 1_000]
    clock.seconds += 61
    for number in range(2_000, 2_500):
        governor.finish(await governor.admit(ask(uuid.UUID(int=number), key_rpm=5, key_model_rpm=5)), tokens=None)
    assert [len(each) for each in meters] == [500, 500, 500]
