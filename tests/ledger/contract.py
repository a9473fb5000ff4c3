"""What every way to commit is held to, and the words its tests use: doors, people who pay, and what is on file."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from django.db import connection

from apps.accounts.models import Account
from apps.core.ids import new_id
from apps.core.money import Credits
from apps.keys.models import ApiKey
from apps.ledger import services
from apps.ledger.books import ABSORBED
from apps.ledger.models import Balance, BudgetWindow, Entry, Grant
from apps.ledger.models import Hold as HoldRow
from apps.ledger.operations import Busy, Expire, Guard, HeldWindow, Hold, Operation, Outcome, Release, Settle
from apps.ledger.store import orm
from apps.ledger.store.postgres import PostgresStore
from apps.ledger.store.protocol import LedgerStore
from apps.ledger.store.sqlite import SqliteStore
from apps.ledger.verify import verify_ledger
from apps.usage.models import UsageRecord
from apps.usage.record import Record

NOON: Final = datetime(2026, 11, 22, 12, 30, 15, tzinfo=UTC)
"""What the application's clock shows while a test on SQLite runs."""
TEST_LIMIT_S: Final = 20

Kind = TypeVar("Kind", bound=Outcome)


class Clock:
    """The application's clock, which is also the embedded store's: a test sets it."""

    def __init__(self, now: datetime = NOON) -> None:
        self.moment = now

    def now(self) -> datetime:
        return self.moment

    def advance(self, **spell: int) -> None:
        self.moment += timedelta(**spell)


def database_url() -> str:
    """The test database as the hot path's own connection takes it."""
    settings = connection.settings_dict
    host, port = settings["HOST"] or "127.0.0.1", settings["PORT"] or 5432
    secret = f":{settings['PASSWORD']}" if settings["PASSWORD"] else ""
    return f"postgresql://{settings['USER']}{secret}@{host}:{port}/{settings['NAME']}"


def backend_store() -> LedgerStore:
    """The hot path's store of the database that the tests run on."""
    if connection.vendor == "postgresql":
        return PostgresStore(database_url())
    return SqliteStore(connection.settings_dict["NAME"])


class StoreDoor:
    """Commits through the hot path's store, from a test that is not async itself: it looks at rows in between."""

    def __init__(self, store: LedgerStore) -> None:
        self.store = store
        self._runner = asyncio.Runner()
        self._runner.run(store.open())

    def commit(self, operations: Sequence[Operation], *, is_repeat: bool = False) -> list[Outcome]:
        outcomes = self.try_to_commit(operations, is_repeat=is_repeat)
        decided = [outcome for outcome in outcomes if not isinstance(outcome, Busy)]
        assert len(decided) == len(outcomes), "an account is locked"
        return decided

    def try_to_commit(self, operations: Sequence[Operation], *, is_repeat: bool = False) -> Sequence[Outcome | Busy]:
        """The same where somebody else may have an account locked."""

        async def commit() -> Sequence[Outcome | Busy]:
            return await asyncio.wait_for(self.store.commit(operations, is_repeat=is_repeat), TEST_LIMIT_S)

        return self._runner.run(commit())

    def close(self) -> None:
        self._runner.run(self.store.close())
        self._runner.close()


class OrmDoor:
    """Commits through Django's connection, as commands, the admin and tasks do. It always looks for repeats."""

    def commit(self, operations: Sequence[Operation], *, is_repeat: bool = False) -> list[Outcome]:
        return orm.commit(operations)

    def close(self) -> None:
        """The connection is Django's."""


Door = StoreDoor | OrmDoor


def only(kind: type[Kind], outcomes: list[Outcome]) -> Kind:
    """The one outcome of a batch of one, which must be of this kind."""
    (outcome,) = outcomes
    assert isinstance(outcome, kind), outcome
    return outcome


@dataclass(slots=True)
class Payer:
    """An account with one key, and the operations its calls ask for."""

    account_id: uuid.UUID
    key_id: uuid.UUID
    process_id: uuid.UUID = field(default_factory=new_id)

    def hold(
        self,
        wanted: int,
        *,
        least: int | None = None,
        guards: tuple[Guard, ...] = (),
        key_id: uuid.UUID | None = None,
    ) -> Hold:
        """Ask for `wanted` microcredits, or for exactly that many where `least` is not given."""
        return Hold(
            request_id=new_id(),
            account_id=self.account_id,
            key_id=key_id or self.key_id,
            model_id="claude-sonnet-4-7",
            process_id=self.process_id,
            wanted_micro=wanted,
            least_micro=wanted if least is None else least,
            guards=guards,
        )

    def settle(self, hold: Hold, charge: int, *, windows: tuple[HeldWindow, ...] = ()) -> Settle:
        return Settle(hold.request_id, self.account_id, charge, self.record(hold), windows)

    def release(self, hold: Hold, *, is_logged: bool = True) -> Release:
        record = self.record(hold, status="failed", http_status=502) if is_logged else None
        return Release(hold.request_id, self.account_id, record)

    def expire(self, hold: Hold) -> Expire:
        return Expire(hold.request_id, self.account_id)

    def record(self, hold: Hold, *, status: str = "succeeded", http_status: int = 200) -> Record:
        return Record(
            request_id=hold.request_id,
            account_id=self.account_id,
            key_id=hold.key_id,
            model_id=hold.model_id,
            endpoint="chat",
            is_stream=False,
            received_at=datetime.now(UTC),
            status=status,
            http_status=http_status,
            input_tokens=1_200,
            output_tokens=300,
            facts={"limit": "none"},
        )


def open_payer(name: str, *, credits_micro: int = 0) -> Payer:
    """An account with that much, and an active key."""
    account = Account.objects.create(name=name)
    if credits_micro:
        services.top_up(account_id=account.id, amount=Credits(credits_micro), reference="opening", actor="tests")
    return Payer(account.id, add_key(account.id))


def add_key(account_id: uuid.UUID) -> uuid.UUID:
    return ApiKey.objects.create(account_id=account_id, name="key", digest=new_id().hex, last4="abcd").id


def purse(payer: Payer) -> tuple[int, int]:
    """What the account has, and what of it is held."""
    row = Balance.objects.get(account_id=payer.account_id)
    return row.balance_micro, row.held_micro


def entries(payer: Payer) -> list[tuple[int, str, int, int, int]]:
    """`(seq, kind, amount, before, after)` of every entry, in order."""
    return list(
        Entry.objects.filter(account_id=payer.account_id)
        .order_by("seq")
        .values_list("seq", "kind", "amount_micro", "balance_before_micro", "balance_after_micro")
    )


def remaining(payer: Payer) -> dict[int, int]:
    """Amount -> what remains of it, of the account's grants: no two of a test are of one amount."""
    return dict(Grant.objects.filter(account_id=payer.account_id).values_list("amount_micro", "remaining_micro"))


def windows(payer: Payer) -> dict[tuple[str, str], tuple[int, int]]:
    """`(scope, period)` -> `(spent, held)` of the account's budgets: a test that has several of one kind reads rows."""
    return {
        (row.scope, row.period): (row.spent_micro, row.held_micro)
        for row in BudgetWindow.objects.filter(account_id=payer.account_id).exclude(scope=ABSORBED)
    }


def absorbed(payer: Payer) -> list[int]:
    """What the house paid for the account, by day."""
    days = BudgetWindow.objects.filter(account_id=payer.account_id, scope=ABSORBED, held_micro=0).order_by("starts_at")
    return list(days.values_list("spent_micro", flat=True))


def hold_state(hold: Hold) -> str | None:
    """`open`, `expired`, or None where nothing is left of it."""
    return HoldRow.objects.filter(request_id=hold.request_id).values_list("state", flat=True).first()


def logged(hold: Hold) -> dict[str, str | int]:
    """The usage record's money and end."""
    row = UsageRecord.objects.get(request_id=hold.request_id)
    return {
        "status": row.status,
        "http_status": row.http_status,
        "charge_micro": row.charge_micro,
        "absorbed_micro": row.absorbed_micro,
    }


def antedate(hold: Hold, *, hours: int) -> tuple[HeldWindow, ...]:
    """Move an open hold, with the windows that it counts in, that many hours back; return those windows."""
    row = HoldRow.objects.get(request_id=hold.request_id)
    earlier = []
    for window in orm.held_windows(row.windows):
        starts_at = window.starts_at - timedelta(hours=hours)
        BudgetWindow.objects.filter(
            account_id=hold.account_id, scope=window.scope, period=window.period, starts_at=window.starts_at
        ).update(starts_at=starts_at)
        earlier.append(HeldWindow(window.scope, window.period, starts_at, window.limit_micro))
    row.windows = [
        {
            "scope": window.scope,
            "period": window.period,
            "starts_at": window.starts_at.isoformat(),
            "limit_micro": window.limit_micro,
        }
        for window in earlier
    ]
    row.save(update_fields=["windows"])
    return tuple(earlier)


def problems() -> list[str]:
    """What is wrong with the ledger, other than that no live process stands behind a test's open holds."""
    return [problem for problem in verify_ledger().problems if not problem.endswith("process that is gone")]


def unprotect_entries() -> None:
    """Drop the triggers that make entries immutable: what only the owner of the database can do."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("DROP TRIGGER IF EXISTS ledger_entry_immutable ON ledger_entry")
            return
        cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'ledger_entry'")
        for (name,) in cursor.fetchall():
            cursor.execute(f"DROP TRIGGER {name}")


def keep_clear_of_the_hours_end(*, margin_s: int = 10) -> None:
    """A server's clock cannot be set: a test of windows waits until no window turns while it runs."""
    now = datetime.now(UTC)
    left_s = 3_600 - now.minute * 60 - now.second
    if left_s <= margin_s:
        time.sleep(left_s + 1)
