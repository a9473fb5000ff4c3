"""What the database says, read past the product's own code: plain SQL on either store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import psycopg

ENTRIES: Final = "SELECT account_id, operation_id, kind, amount_micro FROM ledger_entry"
RECORDS: Final = (
    "SELECT request_id, account_id, key_id, model_id, upstream_request_id, status, charge_micro, absorbed_micro,"
    " is_estimated, input_tokens, cache_read_tokens, output_tokens, endpoint FROM usage_usagerecord"
)
BALANCES: Final = "SELECT account_id, balance_micro, held_micro FROM ledger_balance"
OPEN_HOLDS: Final = "SELECT account_id, amount_micro FROM ledger_hold WHERE state = 'open'"
KEYS: Final = "SELECT id, limit_micro, daily_budget_micro, hourly_budget_micro FROM keys_apikey"
MODEL_LIMITS: Final = "SELECT key_id, model_id, limit_micro FROM keys_modellimit WHERE limit_micro IS NOT NULL"
WINDOWS: Final = (
    "SELECT account_id, scope, period, spent_micro + held_micro FROM ledger_budgetwindow"
    " UNION ALL SELECT account_id, scope, period, spent_micro FROM ledger_closedwindow"
)
ACCOUNTS: Final = "SELECT id, daily_budget_micro FROM accounts_account"
CHANGES: Final = ("UPDATE ledger_entry SET amount_micro = amount_micro + 1", "DELETE FROM ledger_entry")


class Cursor(Protocol):
    def fetchall(self) -> Sequence[tuple[Any, ...]]: ...


class Connection(Protocol):
    def execute(self, statement: Any, /) -> Cursor: ...

    def rollback(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Logged:
    """One usage record."""

    request: str
    account: str
    key: str
    model: str
    tag: str
    status: str
    charge_micro: int
    absorbed_micro: int
    is_estimated: bool
    input: int
    cache_read: int
    output: int
    endpoint: str


@dataclass(frozen=True, slots=True)
class Limit:
    """What may be spent at most."""

    account: str | None
    """Of a limit for all its keys."""
    key: str | None
    model: str | None
    period: str
    micro: int

    def counts(self, record: Logged) -> bool:
        is_whose = record.account == self.account if self.key is None else record.key == self.key
        return is_whose and self.model in {None, record.model}


@dataclass(slots=True)
class Evidence:
    """Ids are 32 hex digits."""

    charges: dict[str, list[int]] = field(default_factory=dict)
    """By request: microcredits of each charge entry."""
    absorbed: dict[str, list[int]] = field(default_factory=dict)
    corrections: dict[str, list[int]] = field(default_factory=dict)
    compensations: dict[str, list[int]] = field(default_factory=dict)
    records: dict[str, Logged] = field(default_factory=dict)
    balances: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By account: balance, held."""
    open_holds: int = 0
    limits: list[Limit] = field(default_factory=list)
    windows: list[tuple[str, str, str, int]] = field(default_factory=list)
    """Account, scope, period, microcredits spent and held; those of the past too."""
    changed: list[str] = field(default_factory=list)
    """Statements that changed entries although none may."""

    @property
    def by_kind(self) -> dict[str, dict[str, list[int]]]:
        return {
            "charge": self.charges,
            "absorbed": self.absorbed,
            "correction": self.corrections,
            "compensation": self.compensations,
        }

    def is_annulled(self, request: str) -> bool:
        """Charged, and given back whole: the store had taken a settlement whose caller was told that it failed."""
        back = self.corrections.get(request, []) + self.compensations.get(request, [])
        return request in self.corrections and sum(self.charges.get(request, [])) == sum(back)


def hex_id(value: object) -> str:
    return str(value).replace("-", "")


@contextmanager
def connect(stores: dict[str, str], data_dir: Path) -> Iterator[Connection]:
    """The installation's database."""
    if stores:
        with closing(psycopg.connect(stores["DATABASE_URL"])) as connection:
            yield connection
    else:
        with closing(sqlite3.connect(data_dir / "hypereal.sqlite3", timeout=10)) as embedded:
            yield embedded


def gather(connection: Connection) -> Evidence:
    """Read everything in one view; then try what the database must refuse."""
    found = Evidence()
    for _account, request, kind, amount in connection.execute(ENTRIES).fetchall():
        kept = found.by_kind.get(kind)
        if kept is not None:
            kept.setdefault(hex_id(request), []).append(amount)
    for request, account, key, *facts in connection.execute(RECORDS).fetchall():
        record = Logged(hex_id(request), hex_id(account), hex_id(key), *facts)
        found.records[record.request] = record
    for account, balance, held in connection.execute(BALANCES).fetchall():
        found.balances[hex_id(account)] = (balance, held)
    found.open_holds = len(connection.execute(OPEN_HOLDS).fetchall())
    found.limits = list(_limits(connection))
    for account, scope, period, micro in connection.execute(WINDOWS).fetchall():
        found.windows.append((hex_id(account), scope.replace("-", ""), period, micro))
    connection.rollback()
    found.changed = [statement for statement in CHANGES if _is_possible(connection, statement)]
    return found


def _limits(connection: Connection) -> Iterator[Limit]:
    for key, *budgets in connection.execute(KEYS).fetchall():
        for period, micro in zip(("lifetime", "daily", "hourly"), budgets, strict=True):
            if micro is not None:
                yield Limit(None, hex_id(key), None, period, micro)
    for key, model, micro in connection.execute(MODEL_LIMITS).fetchall():
        yield Limit(None, hex_id(key), model, "lifetime", micro)
    for account, micro in connection.execute(ACCOUNTS).fetchall():
        if micro is not None:
            yield Limit(hex_id(account), None, None, "daily", micro)


def _is_possible(connection: Connection, statement: str) -> bool:
    try:
        connection.execute(statement)
    except (psycopg.Error, sqlite3.Error):
        return False
    finally:
        connection.rollback()
    return True
