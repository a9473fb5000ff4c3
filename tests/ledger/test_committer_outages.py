"""The committer while its store is away: who waits, for how long, and what is made good when it is back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from apps.ledger import committer as module
from apps.ledger import lane
from apps.ledger.committer import Committer, LedgerUnavailable
from apps.ledger.operations import Granted, Release, Settled
from apps.ledger.store.protocol import StoreUnavailable
from tests.ledger.scripted import ACCOUNT_ID, PROCESS_ID, ScriptedStore, hold, release, settle
from tests.ledger.test_committer import settled_loop

AWAY = StoreUnavailable("no route to host")
HOLD_PATIENCE_S, SETTLE_PATIENCE_S = 0.1, 0.4


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
async def committer(store: ScriptedStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Committer]:
    monkeypatch.setattr(module, "PARKED_POLL_S", 0.02)
    monkeypatch.setattr(lane, "RETRY_PAUSE_S", 0.01)
    monkeypatch.setattr(lane, "HOLD_PATIENCE_S", HOLD_PATIENCE_S)
    monkeypatch.setattr(lane, "SETTLE_PATIENCE_S", SETTLE_PATIENCE_S)
    monkeypatch.setattr(module, "STOP_PATIENCE_S", SETTLE_PATIENCE_S)
    started = Committer(store, process_id=PROCESS_ID, name="test")
    await started.start()
    yield started
    store.is_back()
    store.gate.set()
    await asyncio.wait_for(started.stop(), 5)


async def until_ready(committer: Committer) -> None:
    """Two seconds at most."""
    for _ in range(200):
        if committer.is_ready:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the store was not found again")


async def seconds(call: asyncio.Task[Any]) -> float:
    """How long until it is over, however it ends."""
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    await asyncio.wait([call], timeout=5)
    return loop.time() - begun_at


async def test_a_batch_that_may_have_committed_is_told_again_as_a_repeat(
    committer: Committer, store: ScriptedStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.script.extend([AWAY, AWAY])
    first, second = settle(hold(), 10), settle(hold(), 20)
    with caplog.at_level(logging.ERROR):
        outcomes = await asyncio.gather(committer.settle(first), committer.settle(second))
    assert list(outcomes) == [Settled(10, 1_000, 990), Settled(20, 1_000, 980)]
    assert store.batches == [[first, second]] * 3
    assert store.repeats == [False, True, True]
    assert [line.getMessage() for line in caplog.records] == ["the ledger's store is away: no route to host"]
    assert committer.is_ready


async def test_holds_and_settlements_keep_their_order_through_an_outage(
    committer: Committer, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "MAX_BATCH", 2)
    store.script.extend([AWAY, AWAY])
    settlements = [settle(hold(), charge) for charge in range(1, 6)]
    await asyncio.gather(*(committer.settle(settlement) for settlement in settlements))
    told = [operation for batch in store.batches[2:] for operation in batch]
    assert told == list(settlements)


async def test_a_hold_does_not_wait_long_for_a_store_that_is_away(committer: Committer, store: ScriptedStore) -> None:
    store.is_away()
    call = asyncio.create_task(committer.hold(hold()))
    assert HOLD_PATIENCE_S <= await seconds(call) < SETTLE_PATIENCE_S
    assert isinstance(call.exception(), LedgerUnavailable)
    assert not committer.is_ready
    # The next ones need not find out for themselves.
    with pytest.raises(LedgerUnavailable):
        await asyncio.wait_for(committer.hold(hold()), HOLD_PATIENCE_S / 2)


async def test_a_hold_does_not_wait_long_for_a_store_that_does_not_answer(
    committer: Committer, store: ScriptedStore
) -> None:
    asked = hold()
    store.gate.clear()
    call = asyncio.create_task(committer.hold(asked))
    assert HOLD_PATIENCE_S <= await seconds(call) < SETTLE_PATIENCE_S
    assert isinstance(call.exception(), LedgerUnavailable)
    # It was granted after all, to nobody.
    store.gate.set()
    await settled_loop()
    assert store.batches == [[asked], [Release(asked.request_id, ACCOUNT_ID, None)]]


async def test_a_hold_that_was_given_up_is_given_back_when_the_store_is_back(
    committer: Committer, store: ScriptedStore
) -> None:
    """The connection may have been cut after the hold had committed."""
    asked = hold()
    store.is_away()
    with pytest.raises(LedgerUnavailable):
        await committer.hold(asked)
    await asyncio.sleep(2 * SETTLE_PATIENCE_S)
    store.is_back()
    await until_ready(committer)
    await settled_loop()
    assert store.committed == [[Release(asked.request_id, ACCOUNT_ID, None)]]
    assert store.repeats[-1]


async def test_a_settlement_waits_longer_than_a_hold_and_then_is_not_made(
    committer: Committer, store: ScriptedStore
) -> None:
    store.is_away()
    settlement = settle(hold())
    call = asyncio.create_task(committer.settle(settlement))
    assert SETTLE_PATIENCE_S <= await seconds(call) < 4 * SETTLE_PATIENCE_S
    assert isinstance(call.exception(), LedgerUnavailable)
    store.is_back()
    await until_ready(committer)
    assert await committer.hold(hold()) == Granted(100)
    assert [operation for batch in store.committed for operation in batch if operation == settlement] == []
    assert len(store.committed) == 1


async def test_every_settlement_in_a_long_queue_is_told_in_time(
    committer: Committer, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "MAX_BATCH", 2)
    store.is_away()
    calls = [asyncio.create_task(committer.settle(settle(hold()))) for _ in range(40)]
    _, pending = await asyncio.wait(calls, timeout=3 * SETTLE_PATIENCE_S)
    assert not pending
    assert all(isinstance(call.exception(), LedgerUnavailable) for call in calls)


async def test_a_granted_hold_is_released_however_long_the_store_is_away(
    committer: Committer, store: ScriptedStore
) -> None:
    asked = hold()
    await committer.hold(asked)
    store.is_away()
    failed = release(asked)
    with pytest.raises(LedgerUnavailable):
        await committer.release(failed)
    await asyncio.sleep(SETTLE_PATIENCE_S)
    store.is_back()
    await until_ready(committer)
    await settled_loop()
    assert store.committed == [[asked], [failed]]


async def test_records_of_refused_calls_do_not_pile_up(committer: Committer, store: ScriptedStore) -> None:
    store.is_away()
    for _ in range(10):
        committer.record(release(hold()))
    await asyncio.sleep(2 * SETTLE_PATIENCE_S)
    store.is_back()
    await until_ready(committer)
    await asyncio.sleep(0.05)
    assert store.committed == []


async def test_an_idle_process_finds_its_store_again(committer: Committer, store: ScriptedStore) -> None:
    store.is_away()
    with pytest.raises(LedgerUnavailable):
        await committer.settle(settle(hold()))
    assert not committer.is_ready
    store.is_back()
    await until_ready(committer)
    assert store.committed == []
    assert await committer.hold(hold()) == Granted(100)


async def test_a_lease_that_cannot_be_renewed_makes_the_process_unready(
    committer: Committer, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEASE_RENEWAL_S", 0)
    store.lease_script.extend([AWAY] * 3)
    await asyncio.sleep(0.05)
    assert not committer.is_ready
    await until_ready(committer)
    assert store.renewals >= 5


async def test_the_lease_is_renewed_whatever_went_wrong_with_one_renewal(
    committer: Committer, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LEASE_RENEWAL_S", 0)
    store.lease_script.append(RuntimeError("a surprise"))
    await asyncio.sleep(0.1)
    assert store.renewals >= 3
    assert "the lease could not be renewed" in caplog.text


async def test_stopping_does_not_wait_for_ever_for_a_store_that_is_away(
    committer: Committer, store: ScriptedStore
) -> None:
    asked = hold()
    await committer.hold(asked)
    store.is_away()
    committer.record(release(asked))
    call = asyncio.create_task(committer.settle(settle(hold())))
    await settled_loop()
    await asyncio.wait_for(committer.stop(), 4 * SETTLE_PATIENCE_S)
    assert isinstance(call.exception(), LedgerUnavailable)
