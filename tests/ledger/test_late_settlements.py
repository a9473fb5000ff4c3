"""Settlements that the store did not take in time: journalled and as good as billed, or failed and free for certain."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from apps.core.ids import new_id
from apps.ledger import committer as module
from apps.ledger import lane, late
from apps.ledger.committer import Committer, LedgerUnavailable
from apps.ledger.journal.file import JournalFailed, JournalFile, parse, render
from apps.ledger.journal.journal import Journal
from apps.ledger.operations import BadOperation, Pending, Release, Settled
from tests.ledger.scripted import PROCESS_ID, ScriptedStore, hold, release, settle
from tests.ledger.test_committer import settled_loop
from tests.ledger.test_committer_outages import AWAY, SETTLE_PATIENCE_S, seconds, until_ready


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARKED_POLL_S", 0.02)
    monkeypatch.setattr(module, "STOP_PATIENCE_S", SETTLE_PATIENCE_S)
    monkeypatch.setattr(lane, "RETRY_PAUSE_S", 0.01)
    monkeypatch.setattr(lane, "SETTLE_PATIENCE_S", SETTLE_PATIENCE_S)


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
async def committer(store: ScriptedStore, tmp_path: Path) -> AsyncIterator[Committer]:
    started = Committer(store, process_id=PROCESS_ID, name="test", journal=Journal(tmp_path, PROCESS_ID))
    await started.start()
    yield started
    store.is_back()
    store.gate.set()
    await asyncio.wait_for(started.stop(), 5)
    assert list(tmp_path.glob("*.journal")) == []


@pytest.fixture
async def forgetful(store: ScriptedStore) -> AsyncIterator[Committer]:
    """One without a journal."""
    started = Committer(store, process_id=PROCESS_ID, name="test")
    await started.start()
    yield started
    store.is_back()
    store.gate.set()
    await asyncio.wait_for(started.stop(), 5)


async def until(is_so: Callable[[], bool]) -> None:
    """Two seconds at most."""
    for _ in range(200):
        if is_so():
            return
        await asyncio.sleep(0.01)
    pytest.fail("not within two seconds")


async def until_empty(committer: Committer) -> None:
    await until(lambda: committer.journalled == 0)


def on_disk(directory: Path) -> list[object]:
    return [settlement for path in directory.glob("*.journal") for settlement in parse(path.read_bytes())[0]]


async def test_a_settlement_that_waited_long_enough_is_on_disk_and_told_as_pending(
    committer: Committer, store: ScriptedStore, tmp_path: Path
) -> None:
    store.is_away()
    settlement = settle(hold(), 30)
    call = asyncio.create_task(committer.settle(settlement))
    assert SETTLE_PATIENCE_S <= await seconds(call) < 3 * SETTLE_PATIENCE_S
    assert await call == Pending(30)
    assert (on_disk(tmp_path), committer.journalled) == ([settlement], 1)
    # It goes on to be tried, and is made once the store is back.
    store.is_back()
    await until_empty(committer)
    assert store.committed == [[settlement]]
    assert store.repeats[-1]
    assert on_disk(tmp_path) == []


async def test_settlements_of_one_outage_are_written_down_together(
    committer: Committer, store: ScriptedStore, tmp_path: Path
) -> None:
    store.is_away()
    settlements = [settle(hold(), charge) for charge in range(1, 41)]
    outcomes = await asyncio.gather(*(committer.settle(settlement) for settlement in settlements))
    assert outcomes == [Pending(charge) for charge in range(1, 41)]
    assert on_disk(tmp_path) == settlements
    store.is_back()
    await until_empty(committer)
    assert [operation for batch in store.committed for operation in batch] == settlements


async def test_a_settlement_waits_for_a_silent_store_only_so_long(
    committer: Committer, store: ScriptedStore, tmp_path: Path
) -> None:
    settlement = settle(hold(), 30)
    store.gate.clear()
    call = asyncio.create_task(committer.settle(settlement))
    assert SETTLE_PATIENCE_S <= await seconds(call) < 3 * SETTLE_PATIENCE_S
    assert await call == Pending(30)
    # The store had it all the while.
    store.gate.set()
    await until_empty(committer)
    assert (store.committed, on_disk(tmp_path)) == ([[settlement]], [])


async def test_a_caller_who_left_meanwhile_is_billed_all_the_same(
    committer: Committer, store: ScriptedStore, tmp_path: Path
) -> None:
    store.is_away()
    settlement = settle(hold(), 30)
    call = asyncio.create_task(committer.settle(settlement))
    await settled_loop()
    call.cancel()
    await asyncio.sleep(2 * SETTLE_PATIENCE_S)
    assert on_disk(tmp_path) == [settlement]
    store.is_back()
    await until_empty(committer)
    assert store.committed == [[settlement]]


async def test_what_the_store_takes_while_it_is_written_down_is_told_as_settled(
    committer: Committer, store: ScriptedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Journal.append

    async def append_slowly(self: Journal, settlements: object) -> JournalFile:
        file = await append(self, settlements)  # type: ignore[arg-type]
        store.is_back()
        await until_ready(committer)
        await asyncio.sleep(0.05)
        return file

    monkeypatch.setattr(Journal, "append", append_slowly)
    store.is_away()
    settlement = settle(hold(), 30)
    assert await committer.settle(settlement) == Settled(30, 1_000, 970)
    await until_empty(committer)
    assert (store.committed, on_disk(tmp_path)) == ([[settlement]], [])


async def test_a_settlement_that_cannot_be_written_down_fails_and_is_never_made(
    committer: Committer, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def disk_is_full(*_: object) -> JournalFile:
        raise JournalFailed("No space left on device")

    monkeypatch.setattr(Journal, "append", disk_is_full)
    asked = hold()
    await committer.hold(asked)
    store.is_away()
    with pytest.raises(LedgerUnavailable), caplog.at_level(logging.ERROR):
        await committer.settle(settle(asked, 30))
    assert "1 settlements could not be written down and fail: No space left on device" in caplog.text
    committer.record(release(asked))
    store.is_back()
    await until_ready(committer)
    await settled_loop()
    (owed,) = [operation for batch in store.committed[1:] for operation in batch]
    assert isinstance(owed, Release)
    assert owed.annuls


async def test_without_a_journal_a_late_settlement_fails_and_whatever_came_of_it_is_undone(
    forgetful: Committer, store: ScriptedStore
) -> None:
    asked = hold()
    await forgetful.hold(asked)
    store.gate.clear()
    call = asyncio.create_task(forgetful.settle(settle(asked, 30)))
    assert SETTLE_PATIENCE_S <= await seconds(call) < 3 * SETTLE_PATIENCE_S
    assert isinstance(call.exception(), LedgerUnavailable)
    forgetful.record(release(asked))
    # The settlement was on its way, and made.
    store.gate.set()
    await settled_loop()
    assert store.told() == [["Hold"], ["Settle"], ["Release"]]
    (undone,) = store.committed[-1]
    assert isinstance(undone, Release)
    assert undone.annuls
    # Another call's release need not look.
    other = hold()
    await forgetful.hold(other)
    await forgetful.release(release(other))
    release_like(store, undone=False)


def release_like(store: ScriptedStore, *, undone: bool) -> Release:
    (last,) = store.committed[-1]
    assert isinstance(last, Release)
    assert last.annuls is undone
    return last


async def test_an_annulment_is_owed_however_long_the_store_is_away(forgetful: Committer, store: ScriptedStore) -> None:
    asked = hold()
    store.is_away()
    with pytest.raises(LedgerUnavailable):
        await forgetful.settle(settle(asked, 30))
    forgetful.record(release(asked))
    await asyncio.sleep(2 * SETTLE_PATIENCE_S)
    store.is_back()
    await until_ready(forgetful)
    await settled_loop()
    assert len(store.committed) == 1
    release_like(store, undone=True)


async def test_a_settlement_that_is_refused_on_its_repeat_is_undone_too(
    forgetful: Committer, store: ScriptedStore
) -> None:
    asked = hold()
    await forgetful.hold(asked)
    store.script.extend([AWAY, BadOperation("value too long")])
    with pytest.raises(LedgerUnavailable):
        await forgetful.settle(settle(asked, 30))
    await forgetful.release(release(asked))
    release_like(store, undone=True)


async def test_stopping_writes_down_what_the_store_does_not_take(store: ScriptedStore, tmp_path: Path) -> None:
    committer = Committer(store, process_id=PROCESS_ID, name="test", journal=Journal(tmp_path, PROCESS_ID))
    await committer.start()
    store.is_away()
    settlements = [settle(hold(), 10), settle(hold(), 20)]
    calls = [asyncio.create_task(committer.settle(settlement)) for settlement in settlements]
    await settled_loop()
    await asyncio.wait_for(committer.stop(), 4 * SETTLE_PATIENCE_S)
    assert await asyncio.gather(*calls) == [Pending(10), Pending(20)]
    assert (on_disk(tmp_path), store.committed) == (settlements, [])
    # The next process makes them before it serves.
    store.is_back()
    successor = Committer(store, process_id=new_id(), name="next", journal=Journal(tmp_path, new_id()))
    await successor.start()
    assert store.committed == [settlements]
    await until_empty(successor)
    await successor.stop()
    assert list(tmp_path.iterdir()) == []


async def test_what_a_killed_neighbour_left_is_made_within_one_look(
    committer: Committer, store: ScriptedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "ADOPT_EVERY_S", 0.05)
    settlement = settle(hold(), 10)
    path = tmp_path / f"{new_id()}.journal"
    path.write_bytes(render(settlement))
    await until(lambda: not path.exists())
    assert store.committed == [[settlement]]
    assert store.repeats == [True]


async def test_a_replay_that_takes_its_time_is_not_written_down_again(
    committer: Committer, store: ScriptedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "ADOPT_EVERY_S", 0.05)
    store.gate.clear()
    settlement = settle(hold(), 10)
    path = tmp_path / f"{new_id()}.journal"
    path.write_bytes(render(settlement))
    await until(lambda: committer.journalled == 1)
    await asyncio.sleep(2 * SETTLE_PATIENCE_S)
    assert (on_disk(tmp_path), committer.journalled) == ([settlement], 1)
    store.gate.set()
    await until(lambda: not path.exists())
    assert (store.committed, committer.journalled) == ([[settlement]], 0)


async def test_journals_are_left_alone_while_the_store_is_away(
    committer: Committer, store: ScriptedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "ADOPT_EVERY_S", 0.05)
    store.is_away()
    with pytest.raises(LedgerUnavailable):
        await committer.hold(hold())
    path = tmp_path / f"{new_id()}.journal"
    path.write_bytes(render(settle(hold(), 10)))
    await asyncio.sleep(0.2)
    assert (path.exists(), committer.journalled) == (True, 0)
    store.is_back()
    await until_ready(committer)
    await until(lambda: not path.exists())


async def test_a_replayed_settlement_that_the_store_refuses_is_kept_aside(
    committer: Committer, store: ScriptedStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settlement = settle(hold(), 30)
    store.script.extend([AWAY] * 200)
    call = asyncio.create_task(committer.settle(settlement))
    assert await call == Pending(30)
    with caplog.at_level(logging.ERROR):
        store.script.clear()
        store.script.append(BadOperation("there is no account"))
        await until_empty(committer)
    assert "cannot be made: kept aside" in caplog.text
    (aside,) = tmp_path.glob("*.aside")
    assert parse(aside.read_bytes()) == ([settlement], [])
    assert store.committed == []
