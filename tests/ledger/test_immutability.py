"""Entries are only ever added: the database refuses everything else, whoever asks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import DatabaseError, connection, transaction

from apps.core.money import Credits
from apps.ledger import immutability, services
from apps.ledger.models import Entry
from tests.ledger.contract import Payer, entries

OPENING = [(1, "top_up", 1_000, 0, 1_000)]


def sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def save_changed() -> None:
    entry = Entry.objects.get()
    entry.amount_micro = 1
    entry.save()


def upsert() -> None:
    entry = Entry.objects.get()
    entry.amount_micro = 1
    Entry.objects.bulk_create(
        [entry],
        update_conflicts=True,
        update_fields=["amount_micro"],
        unique_fields=["account_id", "operation_id", "kind"],
    )


CHANGES: dict[str, Callable[[], object]] = {
    "UPDATE": lambda: sql("UPDATE ledger_entry SET amount_micro = 1"),
    "UPDATE of nothing but the reason": lambda: sql("UPDATE ledger_entry SET reason = 'other'"),
    "DELETE": lambda: sql("DELETE FROM ledger_entry"),
    "queryset.update": lambda: Entry.objects.update(amount_micro=1),
    "queryset.delete": lambda: Entry.objects.all().delete(),
    "save": save_changed,
    "delete": lambda: Entry.objects.get().delete(),
    "bulk_update": lambda: Entry.objects.bulk_update([Entry.objects.get()], ["amount_micro"]),
    "upsert": upsert,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_an_entry_cannot_be_changed(alice: Payer, change: Callable[[], object]) -> None:
    with pytest.raises(DatabaseError, match=immutability.REFUSAL), transaction.atomic():
        change()
    assert entries(alice) == OPENING


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="only SQLite can replace a row by inserting one")
def test_an_entry_cannot_be_replaced(alice: Payer) -> None:
    columns = "id, account_id, seq, operation_id, kind, debit, credit, amount_micro, balance_before_micro"
    rest = "balance_after_micro, reference, reason, actor, created_at"
    copied = columns.replace("amount_micro", "1", 1)
    statement = f"INSERT OR REPLACE INTO ledger_entry ({columns}, {rest}) SELECT {copied}, {rest} FROM ledger_entry"
    with pytest.raises(DatabaseError, match=immutability.REFUSAL):
        sql(statement)
    with pytest.raises(DatabaseError, match=immutability.REFUSAL):
        sql(statement.replace("SELECT id", f"SELECT '{'0' * 32}'"))
    assert entries(alice) == OPENING


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="partitions are PostgreSQL's")
def test_an_entry_cannot_be_changed_in_its_partition(alice: Payer) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM ledger_entry")
        ((partition,),) = cursor.fetchall()
    assert partition != "ledger_entry"
    for statement in (f"UPDATE {partition} SET amount_micro = 1", f"DELETE FROM {partition}"):
        with pytest.raises(DatabaseError, match=immutability.REFUSAL):
            sql(statement)
    assert entries(alice) == OPENING


def test_protecting_twice_changes_nothing(alice: Payer) -> None:
    immutability.install(connection)
    services.top_up(account_id=alice.account_id, amount=Credits(5), reference="later", actor="tests")
    assert len(entries(alice)) == 2
    with pytest.raises(DatabaseError, match=immutability.REFUSAL):
        sql("DELETE FROM ledger_entry")


@pytest.mark.django_db
def test_a_migrated_database_is_protected() -> None:
    """Not by the tests' own fixture: by the migrations."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT tgname FROM pg_trigger WHERE tgrelid = 'ledger_entry'::regclass ORDER BY 1")
        else:
            cursor.execute(
                "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'ledger_entry' ORDER BY 1"
            )
        names = [name for (name,) in cursor.fetchall()]
    expected = {
        "postgresql": ["ledger_entry_immutable"],
        "sqlite": ["ledger_entry_no_delete", "ledger_entry_no_replace", "ledger_entry_no_update"],
    }
    assert names == expected[connection.vendor]
