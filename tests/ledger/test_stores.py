"""What each of the hot path's stores does beside committing: leases, lost connections, others' locks."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from django.db import connection, connections, transaction

from apps.core.ids import new_id
from apps.ledger.models import Balance, ProcessLease
from apps.ledger.operations import BadOperation, Granted
from apps.ledger.store.postgres import PostgresStore
from apps.ledger.store.protocol import LedgerStore, StoreUnavailable
from apps.ledger.store.sqlite import SqliteStore
from tests.ledger.contract import Payer, StoreDoor, backend_store, only, purse

Answer = TypeVar("Answer")

needs_postgres = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="about PostgreSQL's connections")
needs_sqlite = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="about SQLite's file")


def run(work: Callable[[LedgerStore], Awaitable[Answer]]) -> Answer:
    """Do something with a store of its own, opened and closed around it."""

    async def main() -> Answer:
        store = backend_store()
        await store.open()
        try:
            return await asyncio.wait_for(work(store), 20)
        finally:
            await store.close()

    return asyncio.run(main())


@pytest.fixture
def door(ledger_db: None) -> Iterator[StoreDoor]:
    opened = StoreDoor(backend_store())
    yield opened
    opened.close()


def test_a_lease_runs_for_thirty_seconds_and_is_renewed(ledger_db: None) -> None:
    process_id = new_id()
    run(lambda store: store.renew_lease(process_id, name="web 1"))
    first = ProcessLease.objects.get()
    assert (first.process_id, first.name) == (process_id, "web 1")
    assert (first.expires_at - first.started_at).total_seconds() == pytest.approx(30, abs=0.01)
    assert abs((datetime.now(UTC) - first.started_at).total_seconds()) < 10
    run(lambda store: store.renew_lease(process_id, name="web 1"))
    second = ProcessLease.objects.get()
    assert second.started_at == first.started_at
    assert second.expires_at > first.expires_at
    run(lambda store: store.end_lease(process_id))
    assert not ProcessLease.objects.exists()


@needs_postgres
def test_renewing_counts_the_processes_that_live(ledger_db: None) -> None:
    now = datetime.now(UTC)
    for number, ends_in_s in ((0, 60), (1, 60), (2, 60), (3, -60)):  # the sweepers' own row, two alive, one dead
        expires_at = now + timedelta(seconds=ends_in_s)
        ProcessLease.objects.create(
            process_id=uuid.UUID(int=number), name=f"web {number}", started_at=now, expires_at=expires_at
        )

    async def renew(store: LedgerStore) -> list[int]:
        process_id = new_id()
        return [await store.renew_lease(process_id, name="web") for _ in range(2)]

    assert run(renew) == [3, 3]


def test_a_lease_renewed_while_batches_commit_is_renewed_whatever_becomes_of_them(alice: Payer) -> None:
    process_id = new_id()

    async def work(store: LedgerStore) -> Sequence[object]:
        bad = alice.settle(alice.hold(1), -5)
        commits = [store.commit([bad]), store.commit([alice.hold(10)]), store.commit([bad])]
        return await asyncio.gather(
            commits[0],
            store.renew_lease(process_id, name="web 1"),
            commits[1],
            commits[2],
            store.renew_lease(process_id, name="web 1"),
            return_exceptions=True,
        )

    outcomes = run(work)
    assert [type(outcome) for outcome in outcomes] == [BadOperation, int, list, BadOperation, int]
    assert ProcessLease.objects.get().process_id == process_id
    assert purse(alice) == (1_000, 10)


def test_closing_twice_and_opening_again_is_harmless(alice: Payer) -> None:
    async def main() -> None:
        store = backend_store()
        await store.open()
        await store.open()
        await store.commit([alice.hold(10)])
        await store.close()

    asyncio.run(main())
    assert purse(alice) == (1_000, 10)


@needs_postgres
def test_a_connection_that_the_server_ended_is_made_anew(alice: Payer, door: StoreDoor) -> None:
    door.commit([alice.hold(10)])
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'hypereal ledger' AND datname = current_database()"
        )
        assert cursor.fetchall() == [(True,)]
    asked = alice.hold(20)
    with pytest.raises(StoreUnavailable):
        door.commit([asked])
    assert only(Granted, door.commit([asked], is_repeat=True)).amount_micro == 20
    assert purse(alice) == (1_000, 30)


@needs_postgres
def test_a_server_that_refuses_connections_is_unavailable(ledger_db: None) -> None:
    async def main() -> None:
        store = PostgresStore("postgresql://nobody@127.0.0.1:1/none")
        with pytest.raises(StoreUnavailable):
            await store.open()
        with pytest.raises(StoreUnavailable):
            await store.commit([])
        with pytest.raises(StoreUnavailable):
            await store.renew_lease(new_id(), name="web 1")
        await store.close()

    asyncio.run(main())


@needs_postgres
def test_a_batch_waits_for_the_accounts_lock_and_sees_what_was_written_under_it(alice: Payer, door: StoreDoor) -> None:
    locked, committed = threading.Event(), threading.Event()

    def spend() -> None:
        try:
            with transaction.atomic():
                Balance.objects.select_for_update().get(account_id=alice.account_id)
                locked.set()
                committed.wait(0.05)
                Balance.objects.filter(account_id=alice.account_id).update(held_micro=950)
        finally:
            connections.close_all()

    writer = threading.Thread(target=spend)
    writer.start()
    assert locked.wait(5)
    assert only(Granted, door.commit([alice.hold(1_000, least=1)])).amount_micro == 12
    writer.join(5)
    assert purse(alice) == (1_000, 962)


@needs_sqlite
def test_a_locked_file_is_unavailable_and_then_works_again(
    alice: Payer, door: StoreDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.ledger.store.sqlite.BUSY_TIMEOUT_S", 0.1)
    store = door.store
    assert isinstance(store, SqliteStore)
    hasty = StoreDoor(backend_store())
    asked = alice.hold(10)
    with transaction.atomic():
        Balance.objects.update(held_micro=0)
        with pytest.raises(StoreUnavailable):
            hasty.commit([asked])
    assert only(Granted, hasty.commit([asked], is_repeat=True)).amount_micro == 10
    hasty.close()


@needs_sqlite
def test_a_file_that_is_not_there_is_unavailable(ledger_db: None) -> None:
    async def main() -> None:
        store = SqliteStore("/nonexistent/hypereal.sqlite3")
        with pytest.raises(StoreUnavailable):
            await store.open()
        await store.close()

    asyncio.run(main())


@needs_sqlite
def test_commits_are_durable_when_they_return(ledger_db: None) -> None:
    async def pragma(store: LedgerStore) -> tuple[str, int]:
        assert isinstance(store, SqliteStore)
        found: list[object] = []

        def look() -> None:
            assert store._connection is not None
            found.extend(store._connection.execute("PRAGMA journal_mode").fetchone())
            found.extend(store._connection.execute("PRAGMA synchronous").fetchone())

        await store._in_thread(look)
        return str(found[0]), int(str(found[1]))

    assert run(pragma) == ("wal", 2)
