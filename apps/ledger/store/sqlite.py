"""The ledger on SQLite: one connection in one thread, `BEGIN IMMEDIATE`, the same rules."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from apps.core import clock
from apps.core.ids import new_id
from apps.ledger.operations import (
    BadOperation,
    BalanceState,
    EntryState,
    Hold,
    Move,
    Operation,
    Outcome,
    RefundState,
    State,
    WindowState,
    Writes,
)
from apps.ledger.rules import decide, window_start
from apps.ledger.store.known_calls import read_known_calls, write_known_calls
from apps.ledger.store.protocol import LEASE_LIFE_S, StoreUnavailable
from apps.ledger.store.sqlite_rows import (
    ENTRY_COLUMNS,
    GRANT_COLUMNS,
    encode,
    grant_state,
    hold_state,
    instant,
    key_state,
    read_instant,
    row_of,
    stored,
)
from apps.ledger.store.wanted import (
    MissingWindow,
    WantedWindow,
    forgotten_windows,
    insured_accounts,
    may_repeat,
    missing_windows,
    open_window,
    possible_entries,
    refunded_requests,
    unfiled_windows,
    wanted_windows,
)
from apps.usage.record import COLUMNS
from apps.usage.store import INSERT_RECORDS_SQLITE

BUSY_TIMEOUT_S: Final = 5.0

READ_BALANCES: Final = (
    "SELECT account_id, balance_micro, held_micro, seq, owed_micro, moved_at FROM ledger_balance"
    " WHERE account_id IN ({})"
)
READ_GRANTS: Final = (
    "SELECT id, account_id, amount_micro, remaining_micro, priority, expires_at, created_at FROM ledger_grant"
    " WHERE remaining_micro > 0 AND account_id IN ({})"
)
READ_HOLDS: Final = "SELECT request_id, amount_micro, state, windows FROM ledger_hold WHERE request_id IN ({})"
READ_KEYS: Final = (
    "SELECT k.id, k.status, k.expires_at, a.status, a.absorbed_cap_micro FROM keys_apikey k"
    " JOIN accounts_account a ON a.id = k.account_id WHERE k.id IN ({})"
)
READ_INSURANCE_CAPS: Final = "SELECT id, insurance_cap_micro FROM accounts_account WHERE id IN ({})"
READ_WINDOW: Final = (
    "SELECT spent_micro, held_micro FROM ledger_budgetwindow"
    " WHERE account_id = ? AND scope = ? AND period = ? AND starts_at = ?"
)
READ_CLOSED_WINDOW: Final = (
    "SELECT spent_micro, 0 FROM ledger_closedwindow WHERE account_id = ? AND scope = ? AND period = ? AND starts_at = ?"
)
READ_ENTRIES: Final = (
    "SELECT kind, id, amount_micro, balance_before_micro, balance_after_micro, granted_micro FROM ledger_entry"
    " WHERE account_id = ? AND operation_id = ?"
)
READ_REFUNDS: Final = (
    "SELECT coalesce(sum(amount_micro), 0), coalesce(sum(granted_micro), 0) FROM ledger_entry"
    " WHERE account_id = ? AND subject_id = ? AND kind = 'refund'"
)
COUNT_RECORDS: Final = (
    "SELECT coalesce(sum(charge_micro), 0) FROM usage_usagerecord WHERE account_id = :account_id"
    " AND request_id >= :since AND (:key_id IS NULL OR key_id = :key_id)"
    " AND (:model_id IS NULL OR model_id = :model_id)"
)
COUNT_HOLDS: Final = (
    "SELECT request_id, amount_micro, state, windows FROM ledger_hold WHERE account_id = :account_id"
    " AND created_at >= :starts_at AND (:key_id IS NULL OR key_id = :key_id)"
    " AND (:model_id IS NULL OR model_id = :model_id)"
)
WRITE_BALANCE: Final = (
    "UPDATE ledger_balance SET balance_micro = ?, held_micro = ?, seq = ?, owed_micro = ?, moved_at = ?"
    " WHERE account_id = ?"
)
WRITE_GRANT: Final = (
    "INSERT INTO ledger_grant (id, account_id, amount_micro, remaining_micro, priority, expires_at, created_at)"
    " VALUES (:id, :account_id, :amount_micro, :remaining_micro, :priority, :expires_at, :created_at)"
    " ON CONFLICT (id) DO UPDATE SET remaining_micro = excluded.remaining_micro"
)
ADD_HOLD: Final = (
    "INSERT INTO ledger_hold (request_id, account_id, key_id, model_id, process_id, state, amount_micro, windows,"
    " created_at) VALUES (?, ?, ?, ?, ?, 'open', ?, ?, ?)"
)
RECOUNT_HOLD: Final = "UPDATE ledger_hold SET windows = ? WHERE request_id = ?"
END_HOLD: Final = "DELETE FROM ledger_hold WHERE request_id = ?"
EXPIRE_HOLD: Final = "UPDATE ledger_hold SET state = 'expired', expired_at = ? WHERE request_id = ?"
WRITE_WINDOW: Final = (
    "INSERT INTO ledger_budgetwindow (id, account_id, scope, period, starts_at, spent_micro, held_micro)"
    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (account_id, scope, period, starts_at)"
    " DO UPDATE SET spent_micro = excluded.spent_micro, held_micro = excluded.held_micro"
)
ADD_ENTRY: Final = (
    "INSERT INTO ledger_entry (id, account_id, seq, operation_id, kind, debit, credit, amount_micro, granted_micro,"
    " balance_before_micro, balance_after_micro, reference, reason, actor, subject_id, created_at)"
    " VALUES (:id, :account_id, :seq, :operation_id, :kind, :debit, :credit, :amount_micro, :granted_micro,"
    " :balance_before_micro, :balance_after_micro, :reference, :reason, :actor, :subject_id, :created_at)"
)
RENEW_LEASE: Final = (
    "INSERT INTO ledger_processlease (process_id, name, started_at, expires_at) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (process_id) DO UPDATE SET expires_at = excluded.expires_at"
)
END_LEASE: Final = "DELETE FROM ledger_processlease WHERE process_id = ?"


class SqliteStore:
    """Group commits of one process. Commands and the admin write beside it, in transactions of their own."""

    def __init__(self, path: Path | str) -> None:
        self._path = str(path)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        await self._in_thread(self._connect)

    async def close(self) -> None:
        await self._in_thread(self._disconnect)
        self._thread.shutdown()

    async def commit(self, operations: Sequence[Operation], *, is_repeat: bool = False) -> list[Outcome]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, operations)

    def beside(self) -> None:
        """A lock is the whole database's: no account is ever locked alone."""

    async def renew_lease(self, process_id: uuid.UUID, *, name: str) -> int:
        now = clock.now()
        expires_at = now + timedelta(seconds=LEASE_LIFE_S)
        await self._in_thread(
            lambda: self._execute(RENEW_LEASE, (process_id.hex, name, instant(now), instant(expires_at)))
        )
        return 1  # the server's lock on the data directory lets no other live

    async def end_lease(self, process_id: uuid.UUID) -> None:
        await self._in_thread(lambda: self._execute(END_LEASE, (process_id.hex,)))

    async def _in_thread(self, call: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _connect(self) -> None:
        self._disconnect()
        try:
            connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error
        self._connection = connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _execute(self, statement: str, parameters: tuple[object, ...]) -> None:
        if self._connection is None:
            self._connect()
        assert self._connection is not None
        try:
            self._connection.execute(statement, parameters)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error

    def _commit(self, operations: Sequence[Operation]) -> list[Outcome]:
        """The whole batch in one transaction. Looking for repeats is cheap here, so it is always done."""
        if self._connection is None:
            self._connect()
        assert self._connection is not None
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            state = _read(connection, operations)
            outcomes, writes = decide(state, operations)
            _write(connection, state, writes)
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._roll_back()
            raise StoreUnavailable(str(error)) from error
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            self._roll_back()
            raise BadOperation(str(error)) from error
        except BaseException:
            self._roll_back()
            raise
        return outcomes

    def _roll_back(self) -> None:
        assert self._connection is not None
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _read(connection: sqlite3.Connection, operations: Sequence[Operation]) -> State:
    state = State(now=clock.now(), balances={})
    accounts = {operation.account_id for operation in operations}
    for account_id, *counts, moved_at in _select(connection, READ_BALANCES, accounts):
        balance_micro, held_micro, seq, owed_micro = counts
        moved = read_instant(moved_at)
        state.balances[uuid.UUID(account_id)] = BalanceState(balance_micro, held_micro, seq, owed_micro, moved)
    for row in _select(connection, READ_GRANTS, accounts):
        grant = grant_state(row)
        state.grants.setdefault(grant.account_id, []).append(grant)
    requests = {operation.request_id for operation in operations if not isinstance(operation, Move)}
    for request_id, amount_micro, status, windows in _select(connection, READ_HOLDS, requests):
        state.holds[uuid.UUID(request_id)] = hold_state(amount_micro, status, windows)
    keys = {operation.key_id for operation in operations if isinstance(operation, Hold)}
    for key_id, *facts in _select(connection, READ_KEYS, keys):
        state.keys[uuid.UUID(key_id)] = key_state(*facts)
    for account_id, cap_micro in _select(connection, READ_INSURANCE_CAPS, insured_accounts(operations)):
        state.insurance_caps[uuid.UUID(account_id)] = cap_micro
    read_known_calls(connection, operations, state)
    _read_windows(connection, wanted_windows(operations), state)
    for missing in missing_windows(state, operations):
        _open_window(connection, missing, state)
    _read_windows(connection, forgotten_windows(state, operations), state)
    _read_windows(connection, unfiled_windows(state, operations), state, statement=READ_CLOSED_WINDOW)
    if may_repeat(state, operations) or any(isinstance(operation, Move) for operation in operations):
        _read_entries(connection, operations, state)
    return state


def _select(connection: sqlite3.Connection, statement: str, ids: Iterable[uuid.UUID]) -> Iterable[tuple[Any, ...]]:
    values = [value.hex for value in ids]
    if not values:
        return ()
    return connection.execute(statement.format(",".join("?" * len(values))), values)


def _read_windows(
    connection: sqlite3.Connection, windows: Iterable[WantedWindow], state: State, *, statement: str = READ_WINDOW
) -> None:
    for account_id, scope, period, starts_at in windows:
        start = window_start(period, state.now) if starts_at is None else starts_at
        row = connection.execute(statement, (account_id.hex, scope, period, instant(start))).fetchone()
        if row is not None:
            state.windows[account_id, scope, period, start] = WindowState(*row)


def _open_window(connection: sqlite3.Connection, missing: MissingWindow, state: State) -> None:
    window = (missing.account_id, missing.scope, missing.period, missing.starts_at)
    parameters = {name: stored(getattr(missing, name)) for name in ("account_id", "key_id", "model_id")}
    closed = connection.execute(READ_CLOSED_WINDOW, [stored(column) for column in window]).fetchone()
    counted = closed or connection.execute(COUNT_RECORDS, parameters | {"since": missing.since.hex}).fetchone()
    holds = connection.execute(COUNT_HOLDS, parameters | {"starts_at": instant(missing.starts_at)})
    open_window(
        state,
        window,
        spent_micro=counted[0],
        holds={uuid.UUID(request_id): hold_state(*columns) for request_id, *columns in holds},
    )


def _read_entries(connection: sqlite3.Connection, operations: Sequence[Operation], state: State) -> None:
    for account_id, operation_id in possible_entries(operations):
        for kind, entry_id, *amounts in connection.execute(READ_ENTRIES, (account_id.hex, operation_id.hex)):
            state.entries[operation_id, kind] = EntryState(uuid.UUID(entry_id), *amounts)
    for account_id, request_id in refunded_requests(operations):
        (amounts,) = connection.execute(READ_REFUNDS, (account_id.hex, request_id.hex)).fetchall()
        state.refunds[request_id] = RefundState(*amounts)


def _write(connection: sqlite3.Connection, state: State, writes: Writes) -> None:
    at = instant(state.now)
    connection.executemany(
        WRITE_BALANCE,
        [
            (
                balance.balance_micro,
                balance.held_micro,
                balance.seq,
                balance.owed_micro,
                stored(balance.moved_at),
                account_id.hex,
            )
            for account_id in writes.balances
            for balance in (state.balances[account_id],)
        ],
    )
    connection.executemany(
        ADD_HOLD,
        [
            (
                hold.request_id.hex,
                hold.account_id.hex,
                hold.key_id.hex,
                hold.model_id,
                hold.process_id.hex,
                hold.amount_micro,
                encode(hold.windows).decode(),
                at,
            )
            for hold in writes.new_holds
        ],
    )
    connection.executemany(
        RECOUNT_HOLD,
        [(encode(windows).decode(), request_id.hex) for request_id, windows in writes.recounted_holds.items()],
    )
    connection.executemany(END_HOLD, [(request_id.hex,) for request_id in writes.ended_holds])
    connection.executemany(EXPIRE_HOLD, [(at, request_id.hex) for request_id in writes.expired_holds])
    connection.executemany(
        WRITE_WINDOW,
        [
            (
                new_id().hex,
                key[0].hex,
                key[1],
                key[2],
                instant(key[3]),
                state.windows[key].spent_micro,
                state.windows[key].held_micro,
            )
            for key in writes.windows
        ],
    )
    connection.executemany(ADD_ENTRY, [row_of(entry, ENTRY_COLUMNS) for entry in writes.entries])
    connection.executemany(WRITE_GRANT, [row_of(grant, GRANT_COLUMNS) for grant in writes.grants.values()])
    write_known_calls(connection, state, writes)
    connection.executemany(INSERT_RECORDS_SQLITE, [row_of(record, COLUMNS) for record in writes.records])
