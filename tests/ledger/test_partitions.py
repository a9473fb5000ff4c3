"""Monthly partitions on PostgreSQL: which there are, what goes where, and months that came too late."""

from __future__ import annotations

import logging
import uuid
from datetime import UTC, datetime

import pytest
from django.db import connection

from apps.core import clock
from apps.core.ids import new_id, time_bound
from apps.core.money import Credits
from apps.ledger import services
from apps.ledger.books import CASH, CUSTOMER
from apps.ledger.models import Entry
from apps.ledger.operations import Move
from apps.ledger.partitions import make_partitions
from apps.ledger.store import orm
from apps.usage.models import UsageRecord
from tests.ledger.contract import Payer

LATER = datetime(2031, 11, 22, 12, 30, tzinfo=UTC)
"""No partitions are made for it by anything but these tests."""
MADE = [
    f"{table}_{month}"
    for month in ("2031_11", "2031_12", "2032_01", "2032_02")
    for table in ("ledger_entry", "usage_usagerecord")
]

needs_postgres = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="partitions are PostgreSQL's")


def id_of(moment: datetime) -> uuid.UUID:
    """An id made at that moment."""
    return uuid.UUID(int=time_bound(int(moment.timestamp() * 1000)).int | (new_id().int & (1 << 80) - 1))


def move(payer: Payer, moment: datetime) -> None:
    orm.commit([Move(id_of(moment), payer.account_id, "top_up", CASH, CUSTOMER, 10)])


def partition_of(moment: datetime) -> str:
    """Where an entry made then was stored."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tableoid::regclass::text FROM ledger_entry WHERE operation_id >= %s ORDER BY operation_id LIMIT 1",
            [time_bound(int(moment.timestamp() * 1000))],
        )
        ((name,),) = cursor.fetchall()
    return str(name)


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL has partitions")
@pytest.mark.django_db
def test_sqlite_has_no_partitions() -> None:
    assert make_partitions() == []


@needs_postgres
@pytest.mark.django_db
def test_a_migrated_database_is_ready_for_this_month_and_three_more() -> None:
    assert make_partitions() == []
    with connection.cursor() as cursor:
        for table in ("ledger_entry", "usage_usagerecord"):
            cursor.execute(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass ORDER BY 1", [table]
            )
            names = [name for (name,) in cursor.fetchall()]
            assert f"{table}_{clock.now():%Y_%m}" in names
            assert f"{table}_default" in names
            assert len(names) == 5


@needs_postgres
@pytest.mark.django_db
def test_partitions_are_made_once_for_months_that_meet() -> None:
    assert make_partitions(LATER) == MADE
    assert make_partitions(LATER) == []
    assert make_partitions(datetime(2031, 12, 1, tzinfo=UTC)) == ["ledger_entry_2032_03", "usage_usagerecord_2032_03"]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = ANY(%s) ORDER BY relname",
            [["ledger_entry_2031_11", "ledger_entry_2031_12"]],
        )
        bounds = [bound for (bound,) in cursor.fetchall()]
    november, december, january = (
        time_bound(int(datetime(year, month, 1, tzinfo=UTC).timestamp() * 1000))
        for year, month in ((2031, 11), (2031, 12), (2032, 1))
    )
    assert bounds == [
        f"FOR VALUES FROM ('{november}') TO ('{december}')",
        f"FOR VALUES FROM ('{december}') TO ('{january}')",
    ]


@needs_postgres
@pytest.mark.django_db
def test_a_new_partition_is_as_protected_and_as_unique_as_its_table() -> None:
    make_partitions(LATER)
    with connection.cursor() as cursor:
        cursor.execute("SELECT tgname FROM pg_trigger WHERE tgrelid = 'ledger_entry_2031_11'::regclass")
        assert cursor.fetchall() == [("ledger_entry_immutable",)]
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = 'ledger_entry_2031_11'::regclass AND contype = 'c'"
        )
        assert {name for (name,) in cursor.fetchall()} == {
            "entry_amount_positive",
            "entry_balance_not_negative",
            "entry_in_bounds",
            "entry_moves_between_two",
        }
        cursor.execute("SELECT count(*) FROM pg_index WHERE indrelid = 'ledger_entry_2031_11'::regclass")
        assert cursor.fetchone() == (5,)


@needs_postgres
def test_an_entry_is_stored_in_the_month_of_its_operation(alice: Payer) -> None:
    last, first = (
        datetime(2031, 11, 30, 23, 59, 59, 999_000, tzinfo=UTC),
        datetime(2031, 12, 1, tzinfo=UTC),
    )
    try:
        make_partitions(LATER)
        move(alice, last)
        move(alice, first)
        assert (partition_of(last), partition_of(first)) == ("ledger_entry_2031_11", "ledger_entry_2031_12")
    finally:
        drop_later_partitions()


@needs_postgres
def test_the_default_partition_takes_what_no_month_is_ready_for(alice: Payer, caplog: pytest.LogCaptureFixture) -> None:
    december = datetime(2031, 12, 5, tzinfo=UTC)
    move(alice, december)
    assert partition_of(december) == "ledger_entry_default"
    try:
        # That month stays where it is; the others, and the job, go on.
        with caplog.at_level(logging.WARNING):
            assert make_partitions(LATER) == [name for name in MADE if name != "ledger_entry_2031_12"]
        assert "ledger_entry_2031_12" in caplog.text
        move(alice, datetime(2031, 12, 6, tzinfo=UTC))
        assert Entry.objects.filter(account_id=alice.account_id).count() == 3
    finally:
        drop_later_partitions()


@pytest.mark.parametrize("year", [1970, 2026, 9_999])
def test_any_id_finds_its_place_and_is_unique_there(alice: Payer, year: int) -> None:
    operation = Move(id_of(datetime(year, 6, 1, tzinfo=UTC)), alice.account_id, "top_up", CASH, CUSTOMER, 10)
    orm.commit([operation])
    orm.commit([operation])
    assert Entry.objects.filter(operation_id=operation.operation_id).count() == 1
    services.top_up(account_id=alice.account_id, amount=Credits(5), reference="later", actor="tests")
    assert list(Entry.objects.order_by("seq").values_list("seq", flat=True)) == [1, 2, 3]


@needs_postgres
@pytest.mark.django_db
def test_usage_records_are_stored_by_month_too() -> None:
    make_partitions(LATER)
    record = UsageRecord(
        request_id=id_of(LATER),
        account_id=new_id(),
        key_id=new_id(),
        model_id="m",
        endpoint="chat",
        status="failed",
        is_stream=False,
        http_status=502,
        latency_ms=1,
        received_at=LATER,
    )
    record.save(force_insert=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM usage_usagerecord")
        assert cursor.fetchall() == [("usage_usagerecord_2031_11",)]


def drop_later_partitions() -> None:
    with connection.cursor() as cursor:
        for name in MADE:
            cursor.execute(f"DROP TABLE IF EXISTS {name}")
