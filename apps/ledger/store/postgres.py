"""The ledger on PostgreSQL: a batch is two round trips, lock and read, then write and commit."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import psycopg
from psycopg import AsyncConnection

from apps.core.ids import new_id
from apps.ledger.operations import (
    BadOperation,
    BalanceState,
    EntryState,
    HeldWindow,
    Hold,
    HoldState,
    KeyState,
    Move,
    Operation,
    Outcome,
    Settle,
    State,
    WindowState,
    Writes,
)
from apps.ledger.rules import decide
from apps.ledger.store.protocol import LEASE_LIFE_S, StoreUnavailable, read_sql
from apps.ledger.store.statements import Statements
from apps.ledger.store.wanted import forgotten_windows, may_repeat, wanted_windows
from apps.usage.store import INSERT_RECORDS_POSTGRES

LOCK_ACCOUNTS: Final = "lock_accounts"
READ_HOLDS: Final = "read_holds"
READ_WINDOWS: Final = "read_windows"
READ_KEYS: Final = "read_keys"
READ_ENTRIES: Final = "read_entries"
WRITE_BATCH: Final = "write_batch"
RENEW_LEASE: Final = "renew_lease"
END_LEASE: Final = "end_lease"
INSERT_RECORDS: Final = "insert_records"
BEGIN: Final = "begin"
COMMIT: Final = "commit"
ROLLBACK: Final = "rollback"
FILES: Final = (
    LOCK_ACCOUNTS,
    READ_HOLDS,
    READ_WINDOWS,
    READ_KEYS,
    READ_ENTRIES,
    WRITE_BATCH,
    RENEW_LEASE,
    END_LEASE,
)
STATEMENTS: Final = {
    **{name: read_sql(f"{name}.postgres.sql") for name in FILES},
    INSERT_RECORDS: INSERT_RECORDS_POSTGRES,
    BEGIN: "BEGIN",
    COMMIT: "COMMIT",
    ROLLBACK: "ROLLBACK",
}

CONNECT_TIMEOUT_S: Final = 3
SESSION: Final = "-c timezone=UTC -c statement_timeout=15000 -c idle_in_transaction_session_timeout=15000"
TCP_USER_TIMEOUT_MS: Final = 10_000
"""A server that vanished without a word is noticed within about ten seconds, not when the kernel gives up."""

encode = msgspec.json.Encoder().encode


Collector = Callable[[bytes | None, State], None]
"""Adds a statement's answer to the state."""


class _Locked(msgspec.Struct):
    now: datetime
    balances: list[tuple[uuid.UUID, int, int, int]]


decode_locked = msgspec.json.Decoder(_Locked).decode
decode_holds = msgspec.json.Decoder(list[tuple[uuid.UUID, int, bool, tuple[HeldWindow, ...]]]).decode
decode_windows = msgspec.json.Decoder(list[tuple[uuid.UUID, str, str, datetime, int, int]]).decode
decode_keys = msgspec.json.Decoder(list[tuple[uuid.UUID, bool, bool, datetime | None]]).decode
decode_entries = msgspec.json.Decoder(list[tuple[uuid.UUID, str, uuid.UUID, int, int, int]]).decode


class PostgresStore:
    """Group commits over one direct connection (never through a pooler: it prepares statements)."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: AsyncConnection[Any] | None = None
        self._statements: Statements | None = None
        self._turn = asyncio.Lock()
        """A lease renewed while a batch is under way would join the batch's transaction, and be undone with it."""

    async def open(self) -> None:
        async with self._turn:
            await self._connect()

    async def close(self) -> None:
        async with self._turn:
            await self._disconnect()

    async def commit(self, operations: Sequence[Operation], *, is_repeat: bool = False) -> list[Outcome]:
        async with self._turn:
            return await self._commit(await self._ready(), operations, is_repeat=is_repeat)

    async def renew_lease(self, process_id: uuid.UUID, *, name: str) -> None:
        await self._execute(RENEW_LEASE, str(process_id), name, str(LEASE_LIFE_S))

    async def end_lease(self, process_id: uuid.UUID) -> None:
        await self._execute(END_LEASE, str(process_id))

    async def _execute(self, name: str, *parameters: str) -> None:
        async with self._turn:
            statements = await self._ready()
            try:
                statements.ask(name, *parameters)
                await statements.answers()
            except psycopg.Error as error:
                await self._disconnect()
                raise StoreUnavailable(str(error)) from error

    async def _ready(self) -> Statements:
        if self._statements is None:
            await self._connect()
        assert self._statements is not None
        return self._statements

    async def _connect(self) -> None:
        await self._disconnect()
        try:
            self._connection = await AsyncConnection.connect(
                self._url,
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
                options=SESSION,
                application_name="hypereal ledger",
                keepalives=1,
                keepalives_idle=5,
                keepalives_interval=2,
                keepalives_count=3,
                tcp_user_timeout=TCP_USER_TIMEOUT_MS,
            )
            statements = Statements(self._connection)
            await statements.prepare(STATEMENTS)
        except psycopg.Error as error:
            await self._disconnect()
            raise StoreUnavailable(str(error)) from error
        self._statements = statements

    async def _disconnect(self) -> None:
        if self._statements is not None:
            self._statements.close()
            self._statements = None
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def _commit(
        self, statements: Statements, operations: Sequence[Operation], *, is_repeat: bool
    ) -> list[Outcome]:
        try:
            statements.ask(BEGIN)
            state = await _read(statements, operations, is_repeat=is_repeat)
            outcomes, writes = decide(state, operations)
            _ask_write(statements, state, writes)
            statements.ask(COMMIT)
            await statements.answers()
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            # Whether it committed is unknown, and what the connection still holds too: begin anew with another.
            await self._disconnect()
            raise StoreUnavailable(str(error)) from error
        except (psycopg.Error, OverflowError, UnicodeError) as error:
            await self._roll_back(statements)
            raise BadOperation(str(error)) from error
        except asyncio.CancelledError:
            await self._disconnect()
            raise
        except BaseException:
            await self._roll_back(statements)
            raise
        return outcomes

    async def _roll_back(self, statements: Statements) -> None:
        """Leave no transaction behind; a connection that cannot even do that is dropped."""
        try:
            statements.ask(ROLLBACK)
            await statements.answers()
        except psycopg.Error:
            await self._disconnect()


async def _read(statements: Statements, operations: Sequence[Operation], *, is_repeat: bool) -> State:
    """Lock the accounts and read what the batch needs: one round trip, another where it holds a surprise."""
    collectors = _ask(statements, operations, is_repeat=is_repeat)
    _, locked, *answers = await statements.answers()
    state = _state(locked)
    for collect, answer in zip(collectors, answers, strict=True):
        collect(answer, state)
    if not is_repeat and may_repeat(state, operations):
        _ask_entries(statements, operations)
        _collect_entries((await statements.answers())[0], state)
    forgotten = forgotten_windows(state, operations)
    if forgotten:
        statements.ask(READ_WINDOWS, encode(list(forgotten)).decode())
        _collect_windows((await statements.answers())[0], state)
    return state


def _ask(statements: Statements, operations: Sequence[Operation], *, is_repeat: bool) -> list[Collector]:
    """Queue the lock, alone and first, then the reads; return what collects each of their answers."""
    collectors: list[Collector] = []
    statements.ask(LOCK_ACCOUNTS, _array(sorted({operation.account_id for operation in operations})))
    requests = [
        operation.request_id
        for operation in operations
        if not isinstance(operation, Move) and (is_repeat or not isinstance(operation, Hold))
    ]
    if requests:
        statements.ask(READ_HOLDS, _array(requests))
        collectors.append(_collect_holds)
    keys = {operation.key_id for operation in operations if isinstance(operation, Hold)}
    if keys:
        statements.ask(READ_KEYS, _array(keys))
        collectors.append(_collect_keys)
    windows = wanted_windows(operations)
    if windows:
        statements.ask(READ_WINDOWS, encode(list(windows)).decode())
        collectors.append(_collect_windows)
    if is_repeat or any(isinstance(operation, Move) for operation in operations):
        _ask_entries(statements, operations)
        collectors.append(_collect_entries)
    return collectors


def _state(locked: bytes | None) -> State:
    assert locked is not None
    found = decode_locked(locked)
    balances = {
        account_id: BalanceState(balance_micro, held_micro, seq)
        for account_id, balance_micro, held_micro, seq in found.balances
    }
    return State(now=found.now, balances=balances)


def _collect_holds(answer: bytes | None, state: State) -> None:
    if answer is not None:
        for request_id, amount_micro, is_open, windows in decode_holds(answer):
            state.holds[request_id] = HoldState(amount_micro, is_open, windows)


def _collect_keys(answer: bytes | None, state: State) -> None:
    if answer is not None:
        for key_id, is_suspended, is_frozen, expires_at in decode_keys(answer):
            state.keys[key_id] = KeyState(is_suspended, is_frozen, expires_at)


def _collect_windows(answer: bytes | None, state: State) -> None:
    if answer is not None:
        for account_id, scope, period, starts_at, spent_micro, held_micro in decode_windows(answer):
            state.windows[account_id, scope, period, starts_at] = WindowState(spent_micro, held_micro)


def _ask_entries(statements: Statements, operations: Sequence[Operation]) -> None:
    pairs = [
        (operation.account_id, operation.operation_id if isinstance(operation, Move) else operation.request_id)
        for operation in operations
        if isinstance(operation, (Move, Settle))
    ]
    statements.ask(READ_ENTRIES, _array(pair[0] for pair in pairs), _array(pair[1] for pair in pairs))


def _collect_entries(answer: bytes | None, state: State) -> None:
    if answer is not None:
        for operation_id, kind, entry_id, amount_micro, before_micro, after_micro in decode_entries(answer):
            state.entries[operation_id, kind] = EntryState(entry_id, amount_micro, before_micro, after_micro)


def _ask_write(statements: Statements, state: State, writes: Writes) -> None:
    if writes.balances or writes.new_holds or writes.ended_holds or writes.expired_holds:
        statements.ask(
            WRITE_BATCH,
            encode([_balance_row(account_id, state) for account_id in writes.balances]).decode(),
            encode(writes.new_holds).decode(),
            encode([_window_row(key, state) for key in writes.windows]).decode(),
            encode(writes.entries).decode(),
            _array(writes.ended_holds),
            _array(writes.expired_holds),
        )
    if writes.records:
        statements.ask(INSERT_RECORDS, encode(writes.records).decode())


def _array(ids: Iterable[uuid.UUID]) -> str:
    """A uuid[] as SQL writes it."""
    return "{" + ",".join(map(str, ids)) + "}"


def _balance_row(account_id: uuid.UUID, state: State) -> dict[str, object]:
    balance = state.balances[account_id]
    return {
        "account_id": account_id,
        "balance_micro": balance.balance_micro,
        "held_micro": balance.held_micro,
        "seq": balance.seq,
    }


def _window_row(key: tuple[uuid.UUID, str, str, datetime], state: State) -> dict[str, object]:
    account_id, scope, period, starts_at = key
    window = state.windows[key]
    return {
        "id": new_id(),
        "account_id": account_id,
        "scope": scope,
        "period": period,
        "starts_at": starts_at,
        "spent_micro": window.spent_micro,
        "held_micro": window.held_micro,
    }
