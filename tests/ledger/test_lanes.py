"""The second lane: who goes there, in what order, and how they come back. The store is scripted."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence

import pytest

from apps.ledger import lane
from apps.ledger.committer import Committer, LedgerUnavailable
from apps.ledger.operations import BUSY, BadOperation, Busy, Granted, Operation, Outcome, Release, Settled
from tests.ledger.scripted import ACCOUNT_ID, PROCESS_ID, Reply, ScriptedStore, agreeable, hold, settle
from tests.ledger.test_committer import settled_loop

OTHER, THIRD = uuid.UUID(int=9), uuid.UUID(int=10)


def busy(*accounts: uuid.UUID) -> Reply:
    """These accounts are locked by somebody else; what the others ask is done."""

    def reply(operations: Sequence[Operation]) -> Sequence[Outcome | Busy]:
        done = agreeable(operations)
        return [
            BUSY if operation.account_id in accounts else outcome
            for operation, outcome in zip(operations, done, strict=True)
        ]

    return reply


@pytest.fixture
def second() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
def store(second: ScriptedStore) -> ScriptedStore:
    return ScriptedStore(second)


@pytest.fixture
async def committer(
    store: ScriptedStore, second: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Committer]:
    monkeypatch.setattr(lane, "RETRY_PAUSE_S", 0.01)
    started = Committer(store, process_id=PROCESS_ID, name="test")
    await started.start()
    yield started
    for scripted in (store, second):
        scripted.is_back()
        scripted.gate.set()
    await asyncio.wait_for(started.stop(), 5)


async def test_a_busy_accounts_operations_go_to_the_second_lane_and_later_ones_follow(
    committer: Committer, store: ScriptedStore, second: ScriptedStore
) -> None:
    store.script.append(busy(ACCOUNT_ID))
    store.gate.clear()
    second.gate.clear()
    first = [settle(hold(), 1), settle(hold(account_id=OTHER), 2)]
    calls = [asyncio.create_task(committer.settle(settlement)) for settlement in first]
    await settled_loop()
    queued = [settle(hold(), 3), settle(hold(account_id=OTHER), 4)]
    calls += [asyncio.create_task(committer.settle(settlement)) for settlement in queued]
    await settled_loop()
    store.gate.set()
    await settled_loop()
    late = settle(hold(), 5)
    calls.append(asyncio.create_task(committer.settle(late)))
    await settled_loop()
    assert store.batches == [first, [queued[1]]]
    assert second.batches == [[first[0], queued[0]]]
    assert [call.done() for call in calls] == [False, True, False, True, False]
    second.gate.set()
    assert [settled.charge_micro for settled in await asyncio.gather(*calls)] == [1, 2, 3, 4, 5]
    assert second.batches == [[first[0], queued[0]], [late]]
    assert second.repeats == [False, False]

    # The row is free: the next one goes the short way again.
    await committer.settle(settle(hold(), 6))
    assert len(store.batches) == 3


async def test_an_account_that_stays_busy_keeps_its_order_and_holds_up_no_other(
    committer: Committer, store: ScriptedStore, second: ScriptedStore
) -> None:
    store.script.append(busy(ACCOUNT_ID, OTHER, THIRD))
    second.script.extend([busy(ACCOUNT_ID, OTHER), busy(ACCOUNT_ID), busy(ACCOUNT_ID, OTHER), busy(ACCOUNT_ID)])
    accounts = [ACCOUNT_ID, OTHER, ACCOUNT_ID, THIRD, OTHER]
    asked = [settle(hold(account_id=account), charge) for charge, account in enumerate(accounts, start=1)]
    outcomes = await asyncio.gather(*(committer.settle(settlement) for settlement in asked))
    assert [settled.charge_micro for settled in outcomes] == [1, 2, 3, 4, 5]
    mine, theirs = [asked[0], asked[2]], [asked[1], asked[4]]
    # All that are there, then one account alone, in turn.
    assert second.batches == [asked, mine, [*theirs, *mine], theirs, mine]


async def test_more_than_a_batch_of_one_account_leaves_room_for_the_others(
    committer: Committer, store: ScriptedStore, second: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "MAX_BATCH", 4)
    store.script.extend([busy(ACCOUNT_ID, OTHER)] * 3)
    second.script.extend([busy(ACCOUNT_ID)] * 4)
    mine = [settle(hold(), charge) for charge in range(1, 8)]
    calls = [asyncio.create_task(committer.settle(settlement)) for settlement in mine]
    theirs = asyncio.create_task(committer.settle(settle(hold(account_id=OTHER), 50)))
    assert (await asyncio.wait_for(theirs, 5)).charge_micro == 50
    await asyncio.gather(*calls)
    assert all(len(batch) <= 4 for batch in second.batches)
    done = [operation for batch in [*store.committed, *second.committed] for operation in batch if operation in mine]
    assert done[-7:] == mine


async def test_what_follows_a_busy_operation_in_a_bisected_batch_stays_behind_it(
    committer: Committer, store: ScriptedStore, second: ScriptedStore
) -> None:
    store.script.extend([BadOperation("violates a check"), busy(ACCOUNT_ID), BadOperation("violates a check")])
    second.gate.clear()
    first, other, follower, bad = (
        settle(hold(), 1),
        settle(hold(account_id=OTHER), 2),
        settle(hold(), 3),
        settle(hold(account_id=OTHER), -1),
    )
    calls = [asyncio.create_task(committer.settle(settlement)) for settlement in (first, other, follower, bad)]
    await settled_loop()
    assert store.batches == [[first, other, follower, bad], [first, other], [bad]]
    assert second.batches == [[first, follower]]
    second.gate.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Settled, Settled, Settled, LedgerUnavailable]
    assert second.repeats == [True]


async def test_a_hold_that_lost_patience_in_the_second_lane_is_not_asked_for_and_its_release_is(
    committer: Committer, store: ScriptedStore, second: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "HOLD_PATIENCE_S", 0.05)
    store.script.append(busy(ACCOUNT_ID))
    second.gate.clear()
    second.script.append(busy(ACCOUNT_ID))
    asked = hold()
    with pytest.raises(LedgerUnavailable):
        await committer.hold(asked)
    second.gate.set()
    await settled_loop()
    assert second.batches == [[asked], [Release(asked.request_id, ACCOUNT_ID, None)]]
    assert await committer.hold(hold()) == Granted(100)
    assert len(store.batches) == 2


async def test_a_second_connection_that_fails_does_not_make_the_process_unready(
    committer: Committer, store: ScriptedStore, second: ScriptedStore
) -> None:
    store.script.append(busy(ACCOUNT_ID))
    second.is_away(times=3)
    settlement = settle(hold(), 1)
    call = asyncio.create_task(committer.settle(settlement))
    await settled_loop()
    assert committer.is_ready
    assert (await call).charge_micro == 1
    assert second.batches == [[settlement]] * 4
    assert second.repeats == [False, True, True, True]


async def test_stopping_waits_for_the_second_lane_and_closes_it(store: ScriptedStore, second: ScriptedStore) -> None:
    committer = Committer(store, process_id=PROCESS_ID, name="test")
    await committer.start()
    store.script.append(busy(ACCOUNT_ID))
    second.gate.clear()
    call = asyncio.create_task(committer.settle(settle(hold(), 1)))
    await settled_loop()
    stopping = asyncio.create_task(committer.stop())
    await settled_loop()
    late = asyncio.create_task(committer.settle(settle(hold(), 2)))
    await settled_loop()
    second.gate.set()
    await asyncio.wait_for(stopping, 5)
    assert [(await settled).charge_micro for settled in (call, late)] == [1, 2]
    assert (store.events, second.events) == (["open", "end lease", "close"], ["close"])


async def test_a_settlement_keeps_the_record_that_it_was_asked_with(committer: Committer, store: ScriptedStore) -> None:
    """The caller leaves while it commits, and the call's end is written into the caller's own record."""
    settlement = settle(hold(), 30)
    settlement.record.status = "succeeded"
    store.gate.clear()
    call = asyncio.create_task(committer.settle(settlement))
    await settled_loop()
    call.cancel()
    settlement.record.status, settlement.record.http_status = "failed", 500
    store.gate.set()
    await settled_loop()
    (told,) = store.committed[0]
    assert isinstance(told, type(settlement))
    assert (told.record.status, told.record.http_status) == ("succeeded", 0)
    assert told.record is not settlement.record
