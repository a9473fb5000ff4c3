"""The ledger on PostgreSQL: a batch is two round trips, lock and read, then write and commit."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import psycopg
from psycopg import AsyncConnection, AsyncCursor

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
from apps.ledger.store.wanted import WantedWindow, forgotten_windows, may_repeat, wanted_windows
from apps.usage.store import INSERT_RECORDS_POSTGRES

LOCK_ACCOUNTS: Final = read_sql("lock_accounts.postgres.sql")
READ_HOLDS: Final = read_sql("read_holds.postgres.sql")
READ_WINDOWS: Final = read_sql("read_windows.postgres.sql")
READ_KEYS: Final = read_sql("read_keys.postgres.sql")
READ_ENTRIES: Final = read_sql("read_entries.postgres.sql")
WRITE_BATCH: Final = read_sql("write_batch.postgres.sql")
RENEW_LEASE: Final = read_sql("renew_lease.postgres.sql")
END_LEASE: Final = read_sql("end_lease.postgres.sql")

CONNECT_TIMEOUT_S: Final = 3
KEEPALIVES: Final[dict[str, Any]] = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""A server that vanished without a word is noticed within about ten seconds, not when the kernel gives up."""
SESSION: Final = "-c timezone=UTC -c statement_timeout=15000 -c idle_in_transaction_session_timeout=15000"

Cursor = AsyncCursor[Any]
encode = msgspec.json.Encoder().encode
decode_windows = msgspec.json.Decoder(tuple[HeldWindow, ...]).decode


class PostgresStore:
    """Group commits over one direct connection (never through a pooler: it prepares statements)."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: AsyncConnection[Any] | None = None
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
        await self._execute(RENEW_LEASE, {"process_id": process_id, "name": name, "life_s": LEASE_LIFE_S})

    async def end_lease(self, process_id: uuid.UUID) -> None:
        await self._execute(END_LEASE, {"process_id": process_id})

    async def _execute(self, statement: str, parameters: dict[str, Any]) -> None:
        async with self._turn:
            connection = await self._ready()
            try:
                await connection.execute(statement, parameters)
            except psycopg.Error as error:
                raise StoreUnavailable(str(error)) from error

    async def _ready(self) -> AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            await self._connect()
        assert self._connection is not None
        return self._connection

    async def _connect(self) -> None:
        await self._disconnect()
        try:
            self._connection = await AsyncConnection.connect(
                self._url,
                autocommit=True,
                prepare_threshold=0,
                connect_timeout=CONNECT_TIMEOUT_S,
                options=SESSION,
                application_name="hypereal ledger",
                **KEEPALIVES,
            )
        except psycopg.OperationalError as error:
            raise StoreUnavailable(str(error)) from error

    async def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def _commit(
        self, connection: AsyncConnection[Any], operations: Sequence[Operation], *, is_repeat: bool
    ) -> list[Outcome]:
        try:
            async with connection.pipeline() as pipeline:
                await connection.execute("BEGIN")
                reads = await _Reads.ask(connection, operations, is_repeat=is_repeat)
                await pipeline.sync()
                state = await reads.state(connection)
                if not is_repeat and may_repeat(state, operations):
                    await _collect_entries(await _ask_entries(connection, operations), state)
                forgotten = forgotten_windows(state, operations)
                if forgotten:
                    await _collect_windows(await _ask_windows(connection, forgotten), state)
                outcomes, writes = decide(state, operations)
                await _write(connection, state, writes)
                await connection.execute("COMMIT")
                await pipeline.sync()
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if isinstance(error, psycopg.errors.QueryCanceled) or not connection.closed:
                await self._roll_back(connection)
            raise StoreUnavailable(str(error)) from error
        except (psycopg.Error, OverflowError, UnicodeError) as error:
            await self._roll_back(connection)
            raise BadOperation(str(error)) from error
        except BaseException:
            await self._roll_back(connection)
            raise
        return outcomes

    async def _roll_back(self, connection: AsyncConnection[Any]) -> None:
        """Leave no transaction behind; a connection that cannot even do that is dropped."""
        try:
            await connection.rollback()
        except psycopg.Error:
            await self._disconnect()


class _Reads:
    """The reads of one batch, sent together and collected after the round trip."""

    def __init__(self, accounts: Cursor) -> None:
        self.accounts = accounts
        self.holds: Cursor | None = None
        self.windows: Cursor | None = None
        self.keys: Cursor | None = None
        self.entries: Cursor | None = None

    @classmethod
    async def ask(
        cls, connection: AsyncConnection[Any], operations: Sequence[Operation], *, is_repeat: bool
    ) -> _Reads:
        accounts = sorted({operation.account_id for operation in operations})
        reads = cls(await connection.execute(LOCK_ACCOUNTS, {"accounts": accounts}))
        requests = [
            operation.request_id
            for operation in operations
            if not isinstance(operation, Move) and (is_repeat or not isinstance(operation, Hold))
        ]
        if requests:
            reads.holds = await connection.execute(READ_HOLDS, {"requests": requests})
        keys = list({operation.key_id for operation in operations if isinstance(operation, Hold)})
        if keys:
            reads.keys = await connection.execute(READ_KEYS, {"keys": keys})
        windows = wanted_windows(operations)
        if windows:
            reads.windows = await _ask_windows(connection, windows)
        if is_repeat or any(isinstance(operation, Move) for operation in operations):
            reads.entries = await _ask_entries(connection, operations)
        return reads

    async def state(self, connection: AsyncConnection[Any]) -> State:
        accounts = await self.accounts.fetchall()
        balances = {
            account_id: BalanceState(balance_micro, held_micro, seq)
            for account_id, balance_micro, held_micro, seq, _ in accounts
        }
        state = State(now=accounts[0][-1] if accounts else await _ask_now(connection), balances=balances)
        if self.holds is not None:
            async for request_id, amount_micro, status, windows in self.holds:
                state.holds[request_id] = HoldState(amount_micro, status == "open", decode_windows(windows))
        if self.windows is not None:
            await _collect_windows(self.windows, state)
        if self.keys is not None:
            async for key_id, status, expires_at, account_status in self.keys:
                state.keys[key_id] = KeyState(status != "active", account_status != "active", expires_at)
        if self.entries is not None:
            await _collect_entries(self.entries, state)
        return state


async def _ask_now(connection: AsyncConnection[Any]) -> datetime:
    """The transaction's time, where no account's row brought it along."""
    row = await (await connection.execute("SELECT now()")).fetchone()
    assert row is not None
    now: datetime = row[0]
    return now


async def _ask_windows(connection: AsyncConnection[Any], windows: Iterable[WantedWindow]) -> Cursor:
    columns = list(zip(*windows, strict=True))
    return await connection.execute(
        READ_WINDOWS,
        {
            "accounts": list(columns[0]),
            "scopes": list(columns[1]),
            "periods": list(columns[2]),
            "starts": list(columns[3]),
        },
    )


async def _collect_windows(cursor: Cursor, state: State) -> None:
    async for account_id, scope, period, starts_at, spent_micro, held_micro in cursor:
        state.windows[account_id, scope, period, starts_at] = WindowState(spent_micro, held_micro)


async def _ask_entries(connection: AsyncConnection[Any], operations: Sequence[Operation]) -> Cursor:
    pairs = [
        (operation.account_id, operation.operation_id if isinstance(operation, Move) else operation.request_id)
        for operation in operations
        if isinstance(operation, (Move, Settle))
    ]
    return await connection.execute(
        READ_ENTRIES, {"accounts": [pair[0] for pair in pairs], "operations": [pair[1] for pair in pairs]}
    )


async def _collect_entries(cursor: Cursor, state: State) -> None:
    async for operation_id, kind, entry_id, amount_micro, before_micro, after_micro in cursor:
        state.entries[operation_id, kind] = EntryState(entry_id, amount_micro, before_micro, after_micro)


async def _write(connection: AsyncConnection[Any], state: State, writes: Writes) -> None:
    if writes.balances or writes.new_holds or writes.ended_holds or writes.expired_holds:
        await connection.execute(
            WRITE_BATCH,
            {
                "balances": encode([_balance_row(account_id, state) for account_id in writes.balances]).decode(),
                "holds": encode(writes.new_holds).decode(),
                "windows": encode([_window_row(key, state) for key in writes.windows]).decode(),
                "entries": encode(writes.entries).decode(),
                "ended": writes.ended_holds,
                "expired": writes.expired_holds,
            },
        )
    if writes.records:
        await connection.execute(INSERT_RECORDS_POSTGRES, {"records": encode(writes.records).decode()})


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
