"""The committer between calls and the store: batches, waiting, and what becomes of callers who leave."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Sequence

import pytest

from apps.ledger import committer as module
from apps.ledger import lane
from apps.ledger.committer import Committer, LedgerUnavailable
from apps.ledger.operations import (
    BadOperation,
    Granted,
    HoldRefused,
    Operation,
    Outcome,
    Release,
    Released,
    Settled,
    Waiting,
)
from tests.ledger.scripted import ACCOUNT_ID, PROCESS_ID, ScriptedStore, agreeable, hold, release, settle

RESERVED = HoldRefused("credits_reserved", "Other calls hold the credits.")


def waits(operations: Sequence[Operation]) -> list[Outcome]:
    return [Waiting(RESERVED) for _ in operations]


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
async def committer(store: ScriptedStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Committer]:
    monkeypatch.setattr(module, "PARKED_POLL_S", 0.02)
    monkeypatch.setattr(lane, "RETRY_PAUSE_S", 0.01)
    started = Committer(store, process_id=PROCESS_ID, name="test")
    await started.start()
    yield started
    store.is_back()
    store.gate.set()
    await asyncio.wait_for(started.stop(), 5)


async def settled_loop() -> None:
    """Let everything that can run, run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_what_queues_up_while_a_batch_commits_is_the_next_batch(
    committer: Committer, store: ScriptedStore
) -> None:
    store.gate.clear()
    first = asyncio.create_task(committer.hold(hold()))
    await settled_loop()
    later = [asyncio.create_task(committer.hold(hold())) for _ in range(5)]
    await settled_loop()
    assert store.told() == [["Hold"]]
    store.gate.set()
    grants = await asyncio.gather(first, *later)
    assert [grant.amount_micro for grant in grants] == [100] * 6
    assert store.told() == [["Hold"], ["Hold"] * 5]
    assert store.repeats == [False, False]


async def test_a_batch_is_bounded(committer: Committer, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "MAX_BATCH", 4)
    await asyncio.gather(*(committer.hold(hold()) for _ in range(10)))
    assert [len(batch) for batch in store.batches] == [4, 4, 2]


async def test_each_caller_gets_the_outcome_of_its_own_operation(committer: Committer) -> None:
    first, second = hold(), hold(wanted=7)
    outcomes = await asyncio.gather(
        committer.hold(second), committer.settle(settle(first, 30)), committer.release(release(second))
    )
    assert list(outcomes) == [Granted(7), Settled(30, 1_000, 970), Released(was_open=True)]


async def test_a_refusal_is_raised_to_its_caller_only(committer: Committer, store: ScriptedStore) -> None:
    refusal = HoldRefused("insufficient_credits", "Too few.")
    store.script.append(lambda operations: [refusal, *agreeable(operations[1:])])
    outcomes = await asyncio.gather(committer.hold(hold()), committer.hold(hold()), return_exceptions=True)
    assert list(outcomes) == [refusal, Granted(100)]


async def test_a_full_queue_refuses_holds_but_never_settlements(
    committer: Committer, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_QUEUED_HOLDS", 2)
    store.gate.clear()
    holds = [asyncio.create_task(committer.hold(hold())) for _ in range(2)]
    await settled_loop()
    with pytest.raises(LedgerUnavailable) as refused:
        await committer.hold(hold())
    assert (refused.value.code, refused.value.status, refused.value.retry_after_s) == ("store_unavailable", 503, 2)
    settlements = [asyncio.create_task(committer.settle(settle(hold()))) for _ in range(5)]
    await settled_loop()
    store.gate.set()
    assert len(await asyncio.gather(*holds, *settlements)) == 7
    assert await committer.hold(hold()) == Granted(100)


async def test_a_hold_that_is_cancelled_in_the_queue_is_not_asked_for(
    committer: Committer, store: ScriptedStore
) -> None:
    store.gate.clear()
    first = asyncio.create_task(committer.hold(hold()))
    await settled_loop()
    asked = hold()
    second = asyncio.create_task(committer.hold(asked))
    await settled_loop()
    second.cancel()
    await settled_loop()
    store.gate.set()
    await first
    await settled_loop()
    assert store.told() == [["Hold"], ["Release"]]
    assert store.batches[1] == [Release(asked.request_id, ACCOUNT_ID, None)]


async def test_a_hold_that_is_cancelled_while_it_commits_is_given_back(
    committer: Committer, store: ScriptedStore
) -> None:
    asked = hold()
    store.gate.clear()
    call = asyncio.create_task(committer.hold(asked))
    await settled_loop()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    store.gate.set()
    await settled_loop()
    assert store.batches == [[asked], [Release(asked.request_id, ACCOUNT_ID, None)]]


async def test_a_caller_who_leaves_does_not_stop_a_settlement(committer: Committer, store: ScriptedStore) -> None:
    settlement = settle(hold())
    store.gate.clear()
    call = asyncio.create_task(committer.settle(settlement))
    await settled_loop()
    call.cancel()
    store.gate.set()
    await settled_loop()
    assert store.batches == [[settlement]]


async def test_a_hold_that_waits_is_asked_again_when_a_call_of_its_account_ends(
    committer: Committer, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PARKED_POLL_S", 60)
    await asyncio.sleep(0.03)  # the tick that had begun before
    store.script.append(waits)
    asked = hold()
    call = asyncio.create_task(committer.hold(asked))
    await settled_loop()
    await committer.settle(settle(hold(account_id=uuid.UUID(int=9))))
    await settled_loop()
    assert store.told() == [["Hold"], ["Settle"]]
    await committer.settle(settle(hold()))
    assert await call == Granted(100)
    assert store.told() == [["Hold"], ["Settle"], ["Settle"], ["Hold"]]


async def test_a_hold_that_waits_looks_for_holds_of_other_processes_that_ended(
    committer: Committer, store: ScriptedStore
) -> None:
    store.script.extend([waits, waits])
    assert await committer.hold(hold()) == Granted(100)
    assert store.told() == [["Hold"]] * 3


async def test_a_hold_waits_only_so_long_for_others(
    committer: Committer, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESERVED_WAIT_S", 0.1)
    store.script.extend([waits] * 1_000)
    begun_at = asyncio.get_running_loop().time()
    with pytest.raises(HoldRefused) as refused:
        await committer.hold(hold())
    assert refused.value is RESERVED
    assert 0.1 <= asyncio.get_running_loop().time() - begun_at < 1


async def test_a_hold_that_waits_for_others_outlives_the_patience_with_the_store(
    committer: Committer, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "HOLD_PATIENCE_S", 0.05)
    store.script.extend([waits] * 6)
    assert await committer.hold(hold()) == Granted(100)
    assert len(store.batches) == 7


async def test_a_bad_operation_does_not_hurt_the_others(
    committer: Committer, store: ScriptedStore, caplog: pytest.LogCaptureFixture
) -> None:
    bad = settle(hold(), charge=-1)

    def refuse_bad(operations: Sequence[Operation]) -> list[Outcome]:
        if bad in operations:
            raise BadOperation("violates a check")
        return agreeable(operations)

    store.script.extend([refuse_bad] * 20)
    with caplog.at_level(logging.ERROR):
        outcomes = await asyncio.gather(
            *(committer.settle(settle(hold())) for _ in range(3)),
            committer.settle(bad),
            *(committer.hold(hold()) for _ in range(3)),
            return_exceptions=True,
        )
    assert [type(outcome) for outcome in outcomes] == [Settled] * 3 + [LedgerUnavailable] + [Granted] * 3
    assert store.repeats == [False] + [True] * (len(store.repeats) - 1)
    assert [line.getMessage() for line in caplog.records] == ["operation Settle failed: violates a check"]
    assert committer.is_ready


async def test_a_batch_that_cannot_be_decided_is_bisected_too(
    committer: Committer, store: ScriptedStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.script.append(KeyError("no such account"))
    with caplog.at_level(logging.ERROR):
        outcomes = await asyncio.gather(*(committer.hold(hold()) for _ in range(2)))
    assert list(outcomes) == [Granted(100)] * 2
    assert [len(batch) for batch in store.batches] == [2, 1, 1]


async def test_a_record_that_cannot_be_written_does_not_keep_the_money(
    committer: Committer, store: ScriptedStore
) -> None:
    asked = hold()
    await committer.hold(asked)
    store.script.append(BadOperation("value too long"))
    committer.record(release(asked))
    await settled_loop()
    assert store.batches[-1] == [Release(asked.request_id, ACCOUNT_ID, None)]


async def test_stopping_commits_what_is_queued(store: ScriptedStore) -> None:
    committer = Committer(store, process_id=PROCESS_ID, name="test")
    await committer.start()
    store.gate.clear()
    calls = [asyncio.create_task(committer.settle(settle(hold()))) for _ in range(3)]
    await settled_loop()
    asked = asyncio.create_task(committer.hold(hold()))
    committer.record(release(hold()))
    await settled_loop()
    stopping = asyncio.create_task(committer.stop())
    await settled_loop()
    with pytest.raises(LedgerUnavailable):
        await committer.hold(hold())
    late = asyncio.create_task(committer.settle(settle(hold())))
    await settled_loop()
    store.gate.set()
    await asyncio.wait_for(stopping, 5)
    assert len(await asyncio.gather(*calls, asked, late)) == 5
    assert store.told() == [["Settle"] * 3, ["Release", "Hold", "Settle"]]
    assert store.events == ["open", "end lease", "close"]


async def test_stopping_tells_those_who_wait_for_other_holds(store: ScriptedStore) -> None:
    committer = Committer(store, process_id=PROCESS_ID, name="test")
    await committer.start()
    store.script.extend([waits] * 10)
    call = asyncio.create_task(committer.hold(hold()))
    await settled_loop()
    await asyncio.wait_for(committer.stop(), 5)
    with pytest.raises(HoldRefused):
        await call


async def test_a_settlement_after_the_end_is_told_so(store: ScriptedStore) -> None:
    committer = Committer(store, process_id=PROCESS_ID, name="test")
    await committer.start()
    await committer.stop()
    with pytest.raises(LedgerUnavailable):
        await asyncio.wait_for(committer.settle(settle(hold())), 1)
    committer.record(release(hold()))
    assert store.batches == []
