"""Prepared statements over one libpq connection: queued, sent in one write, answered in one wait.

The driver's own pipeline writes to the socket once per statement and registers with the event loop once per wait; a
batch of seven statements then costs more in system calls than in all else. Here a round trip is one write, one wake.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

ANSWER_S: Final = 20.0
"""A server that is silent for this long within a round trip is given up. Longer than its own statement_timeout."""
LOOK_S: Final = 0.2
"""uvloop stops watching a connection that is reset, and tells nobody: within a round trip we look ourselves."""

_GOOD: Final = frozenset({ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK})


class Statements:
    """What a connection can be asked, by name: one round trip at a time.

    After an OperationalError the connection is of no more use: `close`, then close the connection.
    """

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._pgconn: PGconn = connection.pgconn
        self._loop = asyncio.get_running_loop()
        # libpq closes its socket when the connection breaks, and the number may be another's a moment later: the loop
        # watches a descriptor of our own for the same socket.
        self._descriptor = os.dup(self._pgconn.socket)
        self._ready: asyncio.Future[None] | None = None
        self._gives_up_at = 0.0
        self._look: asyncio.TimerHandle | None = None
        self._pgconn.nonblocking = 1
        self._pgconn.enter_pipeline_mode()
        self._loop.add_reader(self._descriptor, self._wake)

    @property
    def is_lost(self) -> bool:
        """The server ended the connection between two round trips; or it was closed."""
        return self._descriptor < 0

    async def prepare(self, statements: Mapping[str, str]) -> None:
        """Prepare `name: SQL with $1 …`. Raises: psycopg.Error."""
        for name, statement in statements.items():
            self._pgconn.send_prepare(name.encode(), statement.encode())
        await self.answers()

    def ask(self, name: str, *parameters: str) -> None:
        """Queue a statement for the next round trip. Parameters are text, as SQL would write them.

        Raises: psycopg.OperationalError, where the connection is broken.
        """
        if self.is_lost:
            raise psycopg.OperationalError("the connection is lost")
        self._pgconn.send_query_prepared(name.encode(), [value.encode() for value in parameters])

    async def answers(self) -> list[bytes | None]:
        """Send what is queued; return each statement's answer: the one value of its one row, None where it has none.

        Raises: psycopg.Error, of the first statement that failed; OperationalError where the connection broke, or the
        server was silent for too long.
        """
        self._pgconn.pipeline_sync()
        results: list[PGresult] = []
        self._gives_up_at = self._loop.time() + ANSWER_S
        self._look = self._loop.call_later(LOOK_S, self._look_for_oneself)
        try:
            while self._pgconn.flush():
                await self._until_writable()
            while not self._collect(results):
                await self._until_ready()
                self._pgconn.consume_input()
        finally:
            self._look.cancel()
            self._ready = None
        failed = next((result for result in results if result.status not in _GOOD), None)
        if failed is not None:
            raise error_from_result(failed, encoding="utf-8")
        return [result.get_value(0, 0) if result.ntuples else None for result in results]

    def close(self) -> None:
        """Let go of the socket. The connection itself is its owner's to close. May be called twice."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            self._loop.remove_writer(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _collect(self, results: list[PGresult]) -> bool:
        """Take what has come; say whether the round trip is complete."""
        was_nothing = False
        while not self._pgconn.is_busy():
            result = self._pgconn.get_result()
            if result is None:
                # One nothing ends each statement; two in a row mean that there is no connection to wait for.
                if was_nothing:
                    raise psycopg.OperationalError("the connection is lost")
                was_nothing = True
                continue
            was_nothing = False
            if result.status == ExecStatus.PIPELINE_SYNC:
                return True
            results.append(result)
        return False

    async def _until_ready(self) -> None:
        self._ready = self._loop.create_future()
        await self._ready

    async def _until_writable(self) -> None:
        """The socket's buffer is full: go on when there is room, taking what the server sends meanwhile."""
        self._loop.add_writer(self._descriptor, self._wake)
        try:
            await self._until_ready()
        finally:
            self._loop.remove_writer(self._descriptor)
        self._pgconn.consume_input()

    def _wake(self) -> None:
        if self._ready is None:
            self._read_unasked()
        elif not self._ready.done():
            self._ready.set_result(None)

    def _look_for_oneself(self) -> None:
        self._look = self._loop.call_later(LOOK_S, self._look_for_oneself)
        if self._ready is None or self._ready.done():
            return
        if self._loop.time() >= self._gives_up_at:
            self._ready.set_exception(psycopg.OperationalError("the server does not answer"))
        else:
            self._ready.set_result(None)

    def _read_unasked(self) -> None:
        """Between round trips a server sends next to nothing but its end. Unread, it would wake the loop for ever."""
        try:
            self._pgconn.consume_input()
        except psycopg.OperationalError:
            self.close()
