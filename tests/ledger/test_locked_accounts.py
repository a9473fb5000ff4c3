"""One account that somebody keeps locked holds up no other: PostgreSQL's row locks, and the second lane."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import pytest
from django.db import connection, connections, transaction

from apps.core.ids import new_id
from apps.ledger import lane
from apps.ledger.committer import Committer, LedgerUnavailable
from apps.ledger.models import Balance, Entry
from apps.ledger.models import Hold as HoldRow
from apps.ledger.operations import BUSY, Granted, Moved, Released, Settled
from apps.ledger.verify import verify_ledger
from apps.usage.models import UsageRecord
from tests.ledger.contract import Payer, StoreDoor, backend_store, entries, open_payer, purse
from tests.ledger.test_store_batches import top_up

pytestmark = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="about the locks of single rows")

PRICE = 20
OPENING = 1_000_000


@contextmanager
def locked(*account_ids: uuid.UUID, table: bool = False) -> Iterator[threading.Event]:
    """Somebody else's transaction keeps these accounts, or their table, until the event is set or the block ends."""
    taken, free = threading.Event(), threading.Event()

    def keep() -> None:
        try:
            with transaction.atomic():
                if table:
                    with connection.cursor() as cursor:
                        cursor.execute("LOCK TABLE ledger_balance IN ACCESS EXCLUSIVE MODE")
                list(Balance.objects.select_for_update().filter(account_id__in=account_ids))
                taken.set()
                free.wait(30)
        finally:
            connections.close_all()

    keeper = threading.Thread(target=keep)
    keeper.start()
    assert taken.wait(5)
    try:
        yield free
    finally:
        free.set()
        keeper.join(5)


@pytest.fixture
def door(ledger_db: None) -> Iterator[StoreDoor]:
    opened = StoreDoor(backend_store())
    yield opened
    opened.close()


def test_what_can_be_had_is_committed_and_the_rest_is_busy(door: StoreDoor, alice: Payer, charlie: Payer) -> None:
    first, second = alice.hold(300), charlie.hold(200)
    door.commit([first, second])
    with locked(alice.account_id):
        asked = alice.hold(100)
        begun = time.monotonic()
        outcomes = door.try_to_commit(
            [asked, charlie.settle(second, 50), alice.settle(first, 30), charlie.hold(70), top_up(charlie, 5)]
        )
        assert 0.09 <= time.monotonic() - begun < 1
        assert [type(outcome) for outcome in outcomes[1::2]] == [Settled, Granted]
        assert outcomes[0] is outcomes[2] is BUSY
        assert isinstance(outcomes[4], Moved)
        assert (purse(alice), purse(charlie)) == ((1_000, 300), (955, 70))
    assert isinstance(door.commit([asked])[0], Granted)
    assert door.commit([alice.settle(first, 30)]) == [Settled(30, 1_000, 970)]
    assert (purse(alice), len(entries(alice)), UsageRecord.objects.count()) == ((970, 100), 2, 2)


def test_an_unknown_account_among_busy_ones_is_unknown_not_busy(door: StoreDoor, alice: Payer) -> None:
    stranger = Payer(uuid.UUID(int=7), new_id())
    with locked(alice.account_id):
        outcomes = door.try_to_commit([alice.hold(1), stranger.release(stranger.hold(1))])
    assert outcomes == [BUSY, Released(was_open=False)]


def test_a_locked_table_makes_every_account_busy(door: StoreDoor, alice: Payer, charlie: Payer) -> None:
    asked = [alice.hold(1), charlie.hold(1)]
    with locked(table=True):
        assert door.try_to_commit(asked) == [BUSY, BUSY]
    assert [type(outcome) for outcome in door.commit(asked)] == [Granted, Granted]


def test_only_the_lock_of_an_account_is_given_up_early(door: StoreDoor, alice: Payer) -> None:
    """A table that a migration has locked for a moment is waited for: the batch has its accounts already."""
    taken, done = threading.Event(), threading.Event()

    def keep() -> None:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("LOCK TABLE ledger_hold IN ACCESS EXCLUSIVE MODE")
                taken.set()
                done.wait(0.4)
        finally:
            connections.close_all()

    keeper = threading.Thread(target=keep)
    keeper.start()
    assert taken.wait(5)
    begun = time.monotonic()
    assert isinstance(door.commit([alice.hold(1)])[0], Granted)
    assert time.monotonic() - begun >= 0.2
    keeper.join(5)


async def call(committer: Committer, payer: Payer) -> float:
    """One call from hold to settlement; return the seconds it spent with the ledger."""
    begun = time.monotonic()
    asked = payer.hold(PRICE)
    asked.process_id = committer.process_id
    granted = await committer.hold(asked)
    await committer.settle(payer.settle(asked, PRICE, windows=granted.windows))
    return time.monotonic() - begun


def serve(stuck: Payer, others: list[Payer], *, stuck_s: float) -> tuple[list[float], list[float | BaseException]]:
    """Two seconds of calls of the others, and eight of the stuck account, whose row is free after `stuck_s`."""

    async def main(free: threading.Event) -> tuple[list[float], list[float | BaseException]]:
        committer = Committer(backend_store(), process_id=new_id(), name="web")
        await committer.start()
        asyncio.get_running_loop().call_later(stuck_s, free.set)
        try:
            held_up = []
            times = []
            for turn in range(40):
                if turn < 8:
                    held_up.append(asyncio.create_task(call(committer, stuck)))
                times += await asyncio.gather(*(call(committer, payer) for payer in others))
                await asyncio.sleep(0.04)
            return times, await asyncio.gather(*held_up, return_exceptions=True)
        finally:
            await committer.stop()

    with locked(stuck.account_id) as free:
        return asyncio.run(main(free))


@pytest.fixture
def payers(ledger_db: None) -> list[Payer]:
    return [open_payer(f"account {place}", credits_micro=OPENING) for place in range(6)]


@pytest.mark.parametrize("place", [0, -1], ids=["locked first", "locked last"])
def test_calls_of_other_accounts_are_not_held_up(
    payers: list[Payer], place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "HOLD_PATIENCE_S", 5.0)
    payers.sort(key=lambda payer: payer.account_id)
    stuck = payers.pop(place)
    times, ended = serve(stuck, payers, stuck_s=2.0)
    assert len(times) == 40 * 5
    assert median(times) < 0.2
    assert max(times) < 0.5
    assert [type(end) for end in ended] == [float] * 8
    assert max(end for end in ended if isinstance(end, float)) > 1
    assert [purse(payer) for payer in payers] == [(OPENING - 40 * PRICE, 0)] * 5
    assert purse(stuck) == (OPENING - 8 * PRICE, 0)
    charges = Entry.objects.filter(kind="charge")
    assert charges.count() == charges.values("operation_id").distinct().count() == UsageRecord.objects.count() == 208
    assert [entry[0] for entry in entries(stuck)] == list(range(1, 10))
    assert HoldRow.objects.count() == 0
    assert verify_ledger().problems == []


def test_calls_of_the_locked_account_are_refused_after_their_patience_and_hold_nothing(
    payers: list[Payer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "HOLD_PATIENCE_S", 0.3)
    stuck = payers.pop()
    _, ended = serve(stuck, payers, stuck_s=1.2)
    assert [type(end) for end in ended] == [LedgerUnavailable] * 8
    assert purse(stuck) == (OPENING, 0)
    assert HoldRow.objects.count() == 0
    assert verify_ledger().problems == []


def test_a_settlement_of_a_locked_account_is_given_up_after_its_patience(
    alice: Payer, charlie: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "SETTLE_PATIENCE_S", 0.4)

    async def main() -> None:
        committer = Committer(backend_store(), process_id=new_id(), name="web")
        await committer.start()
        try:
            asked = alice.hold(100)
            await committer.hold(asked)
            with locked(alice.account_id):
                begun = time.monotonic()
                with pytest.raises(LedgerUnavailable):
                    await committer.settle(alice.settle(asked, 70))
                assert 0.4 <= time.monotonic() - begun < 1.5
                committer.record(alice.release(asked))
                assert await call(committer, charlie) < 0.5
                assert committer.is_ready
            assert (await committer.release(alice.release(alice.hold(1)))).was_open is False
        finally:
            await committer.stop()

    asyncio.run(main())
    assert (purse(alice), purse(charlie)) == ((1_000, 0), (1_000 - PRICE, 0))
    assert HoldRow.objects.count() == 0
    assert verify_ledger().problems == []
