"""The ledger on PostgreSQL: a batch is two round trips, lock and read, then write and commit."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection

from apps.ledger.idempotency import KEPT_S
from apps.ledger.operations import (
    BUSY,
    BadOperation,
    Busy,
    Hold,
    Move,
    Operation,
    Outcome,
    State,
    Writes,
)
from apps.ledger.rules import decide
from apps.ledger.store.known_calls import claim_rows, collect_known_calls, wanted_keys
from apps.ledger.store.protocol import LEASE_LIFE_S, StoreUnavailable, read_sql
from apps.ledger.store.rows import (
    Collector,
    array,
    balance_row,
    collect_counts,
    collect_entries,
    collect_grants,
    collect_holds,
    collect_insurance_caps,
    collect_keys,
    collect_refunds,
    collect_windows,
    decode_locked,
    encode,
    state_of,
    window_row,
)
from apps.ledger.store.statements import Statements
from apps.ledger.store.wanted import (
    forgotten_windows,
    insured_accounts,
    may_repeat,
    missing_windows,
    possible_entries,
    refunded_requests,
    unfiled_windows,
    wanted_windows,
)
from apps.usage.store import INSERT_RECORDS_POSTGRES

LOCK_ACCOUNTS: Final = "lock_accounts"
LOCK_FREE_ACCOUNTS: Final = "lock_free_accounts"
READ_HOLDS: Final = "read_holds"
READ_WINDOWS: Final = "read_windows"
READ_CLOSED_WINDOWS: Final = "read_closed_windows"
READ_KEYS: Final = "read_keys"
READ_ENTRIES: Final = "read_entries"
READ_GRANTS: Final = "read_grants"
READ_REFUNDS: Final = "read_refunds"
READ_INSURANCE_CAPS: Final = "read_insurance_caps"
COUNT_WINDOWS: Final = "count_windows"
RECOUNT_HOLDS: Final = "recount_holds"
WRITE_BATCH: Final = "write_batch"
WRITE_GRANTS: Final = "write_grants"
RENEW_LEASE: Final = "renew_lease"
END_LEASE: Final = "end_lease"
READ_KNOWN_CALLS: Final = "read_known_calls"
CLAIM_KEYS: Final = "claim_keys"
KEEP_REPLIES: Final = "keep_replies"
INSERT_RECORDS: Final = "insert_records"
BEGIN: Final = "begin"
NO_LIMIT: Final = "no_limit"
COMMIT: Final = "commit"
ROLLBACK: Final = "rollback"
FILES: Final = (
    LOCK_ACCOUNTS,
    LOCK_FREE_ACCOUNTS,
    READ_HOLDS,
    READ_WINDOWS,
    READ_CLOSED_WINDOWS,
    READ_KEYS,
    READ_ENTRIES,
    READ_GRANTS,
    READ_REFUNDS,
    READ_INSURANCE_CAPS,
    COUNT_WINDOWS,
    RECOUNT_HOLDS,
    WRITE_BATCH,
    WRITE_GRANTS,
    RENEW_LEASE,
    END_LEASE,
    READ_KNOWN_CALLS,
    CLAIM_KEYS,
    KEEP_REPLIES,
)
STATEMENTS: Final = {
    **{name: read_sql(f"{name}.postgres.sql") for name in FILES},
    INSERT_RECORDS: INSERT_RECORDS_POSTGRES,
    BEGIN: "BEGIN",
    NO_LIMIT: "SET LOCAL lock_timeout = 0",
    COMMIT: "COMMIT",
    ROLLBACK: "ROLLBACK",
}

AWAY: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
)
"""No fault of the batch: the connection, the server, its disk, a deadlock, a standby that is not promoted yet."""
CONNECT_TIMEOUT_S: Final = 3
LOCK_TIMEOUT_MS: Final = 100
"""How long a batch waits for an account. Only the statement that locks is under this limit: it lifts it itself, since
a setting of its own would cost every batch a statement."""
SESSION: Final = (
    "-c timezone=UTC -c statement_timeout=15000 -c idle_in_transaction_session_timeout=15000"
    f" -c lock_timeout={LOCK_TIMEOUT_MS}"
)
TCP_USER_TIMEOUT_MS: Final = 10_000
"""A server that vanished without a word is noticed within about ten seconds, not when the kernel gives up."""


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

    def beside(self) -> PostgresStore:
        return PostgresStore(self._url)

    async def commit(self, operations: Sequence[Operation], *, is_repeat: bool = False) -> list[Outcome | Busy]:
        async with self._turn:
            return await self._commit(await self._ready(), operations, is_repeat=is_repeat)

    async def renew_lease(self, process_id: uuid.UUID, *, name: str) -> int:
        alive = await self._execute(RENEW_LEASE, str(process_id), name, str(LEASE_LIFE_S))
        assert alive is not None
        return int(alive)

    async def end_lease(self, process_id: uuid.UUID) -> None:
        await self._execute(END_LEASE, str(process_id))

    async def _execute(self, name: str, *parameters: str) -> bytes | None:
        """Run one statement in a transaction of its own; return the one value of its one row, where it has one."""
        async with self._turn:
            statements = await self._ready()
            try:
                statements.ask(BEGIN)
                statements.ask(NO_LIMIT)
                statements.ask(name, *parameters)
                statements.ask(COMMIT)
                return (await statements.answers())[-2]
            except psycopg.Error as error:
                await self._disconnect()
                raise StoreUnavailable(str(error)) from error

    async def _ready(self) -> Statements:
        if self._statements is None or self._statements.is_lost:
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
    ) -> list[Outcome | Busy]:
        try:
            try:
                state, busy = await _read(statements, operations, is_repeat=is_repeat)
                free = operations
            except psycopg.errors.LockNotAvailable:
                statements.ask(ROLLBACK)
                state, busy = await _read_free(statements, operations, is_repeat=is_repeat)
                free = [operation for operation in operations if operation.account_id not in busy]
            outcomes, writes = decide(state, free)
            _ask_write(statements, state, writes)
            statements.ask(COMMIT)
            await statements.answers()
        except AWAY as error:
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
        if not busy:
            return list(outcomes)
        decided = iter(outcomes)
        return [BUSY if operation.account_id in busy else next(decided) for operation in operations]

    async def _roll_back(self, statements: Statements) -> None:
        """Leave no transaction behind; a connection that cannot even do that is dropped."""
        try:
            statements.ask(ROLLBACK)
            await statements.answers()
        except psycopg.Error:
            await self._disconnect()


async def _read(
    statements: Statements, operations: Sequence[Operation], *, is_repeat: bool, lock: str = LOCK_ACCOUNTS
) -> tuple[State, frozenset[uuid.UUID]]:
    """Lock the accounts and read what the batch needs: one round trip, another where it holds a surprise. Return also
    the accounts that `lock` left to somebody else.

    Raises: LockNotAvailable, where an account could not be had in time.
    """
    statements.ask(BEGIN)
    collectors = _ask(statements, operations, lock=lock, is_repeat=is_repeat)
    answers = (await statements.answers())[-len(collectors) - 1 :]
    assert answers[0] is not None
    locked = decode_locked(answers[0])
    state = state_of(locked)
    for collect, answer in zip(collectors, answers[1:], strict=True):
        collect(answer, state)
    free = [operation for operation in operations if operation.account_id not in locked.busy]
    if not is_repeat and may_repeat(state, free):
        _ask_entries(statements, free)
        collect_entries((await statements.answers())[0], state)
    missing = missing_windows(state, free)
    if missing:
        statements.ask(COUNT_WINDOWS, encode(missing).decode())
        collect_counts((await statements.answers())[0], state)
    forgotten = forgotten_windows(state, free)
    if forgotten:
        statements.ask(READ_WINDOWS, encode(list(forgotten)).decode())
        collect_windows((await statements.answers())[0], state)
    unfiled = unfiled_windows(state, free)
    if unfiled:
        statements.ask(READ_CLOSED_WINDOWS, encode(list(unfiled)).decode())
        collect_windows((await statements.answers())[0], state)
    return state, locked.busy


async def _read_free(
    statements: Statements, operations: Sequence[Operation], *, is_repeat: bool
) -> tuple[State, frozenset[uuid.UUID]]:
    """The same for the accounts that can be had at once. Where even the table is somebody else's, that is none."""
    try:
        return await _read(statements, operations, is_repeat=is_repeat, lock=LOCK_FREE_ACCOUNTS)
    except psycopg.errors.LockNotAvailable:
        statements.ask(ROLLBACK)
        statements.ask(BEGIN)
        return State(datetime.now(UTC), {}), frozenset(operation.account_id for operation in operations)


def _ask(statements: Statements, operations: Sequence[Operation], *, lock: str, is_repeat: bool) -> list[Collector]:
    """Queue the lock, alone and first, then the reads; return what collects each of their answers."""
    collectors: list[Collector] = []
    accounts = array(sorted({operation.account_id for operation in operations}))
    statements.ask(lock, accounts)
    statements.ask(READ_GRANTS, accounts)
    collectors.append(collect_grants)
    requests = [
        operation.request_id
        for operation in operations
        if not isinstance(operation, Move) and (is_repeat or not isinstance(operation, Hold))
    ]
    if requests:
        statements.ask(READ_HOLDS, array(requests))
        collectors.append(collect_holds)
    keys = {operation.key_id for operation in operations if isinstance(operation, Hold)}
    if keys:
        statements.ask(READ_KEYS, array(keys))
        collectors.append(collect_keys)
    known = wanted_keys(operations)
    if known:
        statements.ask(READ_KNOWN_CALLS, encode(list(known)).decode(), str(KEPT_S))
        collectors.append(collect_known_calls)
    windows = wanted_windows(operations)
    if windows:
        statements.ask(READ_WINDOWS, encode(list(windows)).decode())
        collectors.append(collect_windows)
    if is_repeat or any(isinstance(operation, Move) for operation in operations):
        _ask_entries(statements, operations)
        collectors.append(collect_entries)
    refunded = refunded_requests(operations)
    if refunded:
        statements.ask(READ_REFUNDS, *_pairs(refunded))
        collectors.append(collect_refunds)
    insured = insured_accounts(operations)
    if insured:
        statements.ask(READ_INSURANCE_CAPS, array(insured))
        collectors.append(collect_insurance_caps)
    return collectors


def _ask_entries(statements: Statements, operations: Sequence[Operation]) -> None:
    statements.ask(READ_ENTRIES, *_pairs(possible_entries(operations)))


def _pairs(pairs: Sequence[tuple[uuid.UUID, uuid.UUID]]) -> tuple[str, str]:
    return array(pair[0] for pair in pairs), array(pair[1] for pair in pairs)


def _ask_write(statements: Statements, state: State, writes: Writes) -> None:
    if writes.recounted_holds:
        # Apart from the rest: a statement changes a row once, and some of these end in this batch.
        recounted = [
            {"request_id": request_id, "windows": windows} for request_id, windows in writes.recounted_holds.items()
        ]
        statements.ask(RECOUNT_HOLDS, encode(recounted).decode())
    if writes.balances or writes.windows or writes.new_holds or writes.ended_holds or writes.expired_holds:
        statements.ask(
            WRITE_BATCH,
            encode([balance_row(account_id, state) for account_id in writes.balances]).decode(),
            encode(writes.new_holds).decode(),
            encode([window_row(key, state) for key in writes.windows]).decode(),
            encode(writes.entries).decode(),
            array(writes.ended_holds),
            array(writes.expired_holds),
        )
    if writes.grants:
        statements.ask(WRITE_GRANTS, encode(list(writes.grants.values())).decode())
    if writes.claims:
        statements.ask(CLAIM_KEYS, encode(claim_rows(writes)).decode())
    if writes.kept_replies:
        statements.ask(KEEP_REPLIES, encode(writes.kept_replies).decode())
    if writes.records:
        statements.ask(INSERT_RECORDS, encode(writes.records).decode())
