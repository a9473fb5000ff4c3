"""The ledger's database for tests: committed for real, protected as in production, emptied afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from apps.core import clock
from apps.ledger import immutability
from tests.ledger.contract import (
    Clock,
    Door,
    OrmDoor,
    Payer,
    StoreDoor,
    backend_store,
    keep_clear_of_the_hours_end,
    open_payer,
    unprotect_entries,
)

OPENING_MICRO = 1_000


@pytest.fixture
def entries_protected_again(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Puts the triggers back once the tables are empty."""
    yield
    with django_db_blocker.unblock():
        immutability.install(connection)


@pytest.fixture
def ledger_db(entries_protected_again: None, transactional_db: None) -> Iterator[None]:
    """A database that other connections see into, emptied after the test: for that its entries lose the protection
    which they have until then."""
    yield
    unprotect_entries()


@pytest.fixture
def app_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The application's clock, standing still until the test moves it."""
    still = Clock()
    monkeypatch.setattr(clock, "now", still.now)
    return still


@pytest.fixture
def steady_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """No budget window turns while the test runs, whosever clock it is."""
    if connection.vendor == "postgresql":
        keep_clear_of_the_hours_end()
    else:
        monkeypatch.setattr(clock, "now", Clock().now)


@pytest.fixture(params=["store", "orm"])
def door(request: pytest.FixtureRequest, ledger_db: None, steady_windows: None) -> Iterator[Door]:
    """Each way to commit on this database: the hot path's store, and Django's connection."""
    opened: Door = StoreDoor(backend_store()) if request.param == "store" else OrmDoor()
    yield opened
    opened.close()


@pytest.fixture
def alice(ledger_db: None) -> Payer:
    """Owns an account with 1,000 microcredits and one key."""
    return open_payer("alice", credits_micro=OPENING_MICRO)


@pytest.fixture
def charlie(ledger_db: None) -> Payer:
    """A stranger with money of his own."""
    return open_payer("charlie", credits_micro=OPENING_MICRO)
