"""Named places in a call's life where a process can be made to die, fail or stand still.

    FAILPOINT=F4:kill            at the first time that a call gets there
    FAILPOINT=F4:kill@3          at the third
    FAILPOINT=F3:sleep:0.5%10    half a second, each time with a chance of 10 %
    FAILPOINT=F1:raise@2,F6:kill several, with commas

The product knows nothing of this: `install` wraps the functions that a call passes, in the process that a fault test
serves from, and only those of the sites that are named. So there is nothing to leave behind, and nothing to measure.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import psycopg

SITES: Final = {
    "F0": "before the hold",
    "F1": "hold committed",
    "F2": "upstream's headers came",
    "F3": "mid-stream: a part of the upstream's body came",
    "F4": "upstream done, before the settlement's transaction",
    "F5": "settlement's COMMIT sent, before its answer is read",
    "F6": "settled, before the caller's last byte",
}
"""F7, between a commit and the wake-up of a task that it queues, has no place: no commit of a call queues a task."""
ACTIONS: Final = ("kill", "raise", "sleep")
_SPEC: Final = re.compile(
    r"(?P<site>F\d):(?P<action>[a-z]+)(?::(?P<seconds>\d+(?:\.\d+)?))?(?:@(?P<nth>\d+))?(?:%(?P<percent>\d+))?"
)


class FailpointReached(Exception):
    """What `raise` raises: nobody can have foreseen it."""


@dataclass(slots=True)
class Failpoint:
    """What happens at one site."""

    site: str
    action: str
    seconds: float = 0.0
    nth: int | None = None
    """Only the nth time; None: every time."""
    percent: int = 100
    passed: int = 0

    def is_due(self) -> bool:
        self.passed += 1
        if self.nth is not None and self.passed != self.nth:
            return False
        return self.percent == 100 or random.randrange(100) < self.percent

    async def reach(self) -> None:
        """Raises: FailpointReached."""
        if self.is_due():
            if self.action == "sleep":
                await asyncio.sleep(self.seconds)
            else:
                self._strike()

    def reach_in_thread(self) -> None:
        """The same where there is no loop to wait in."""
        if self.is_due():
            if self.action == "sleep":
                time.sleep(self.seconds)
            else:
                self._strike()

    def _strike(self) -> None:
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)  # the signal is on its way; nothing may happen until it comes
        raise FailpointReached(f"failpoint {self.site}")


def read(text: str) -> list[Failpoint]:
    """Read a FAILPOINT variable. Raises: ValueError."""
    points = []
    for part in filter(None, text.split(",")):
        found = _SPEC.fullmatch(part)
        if found is None or found["site"] not in SITES or found["action"] not in ACTIONS:
            raise ValueError(f"no failpoint: {part!r}")
        points.append(
            Failpoint(
                found["site"],
                found["action"],
                seconds=float(found["seconds"] or 0.0),
                nth=int(found["nth"]) if found["nth"] else None,
                percent=int(found["percent"] or 100),
            )
        )
    return points


def install(environ: Mapping[str, str]) -> list[Failpoint]:
    """Wrap what FAILPOINT names; return what was wrapped. To be called once, before the server starts."""
    points = read(environ.get("FAILPOINT", ""))
    for point in points:
        _INSTALLERS[point.site](point)
    return points


def _wrap(owner: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
    original = getattr(owner, name)
    setattr(owner, name, wrapper(original))


def _around(point: Failpoint, *, after: bool) -> Callable[[Any], Any]:
    """A coroutine function that reaches the point before or after what it does."""

    def wrapper(original: Any) -> Any:
        async def wrapped(*arguments: Any, **named: Any) -> Any:
            if not after:
                await point.reach()
            result = await original(*arguments, **named)
            if after:
                await point.reach()
            return result

        return wrapped

    return wrapper


def _before_hold(point: Failpoint) -> None:
    from apps.ledger.committer import Committer

    _wrap(Committer, "hold", _around(point, after=False))


def _after_hold(point: Failpoint) -> None:
    from apps.ledger.committer import Committer

    _wrap(Committer, "hold", _around(point, after=True))


def _after_headers(point: Failpoint) -> None:
    from apps.gateway.journey import Journey

    _wrap(Journey, "next", _around(point, after=True))


def _mid_stream(point: Failpoint) -> None:
    from apps.upstreams.transport.http import HttpReply

    def wrapper(original: Any) -> Any:
        async def chunks(reply: HttpReply) -> AsyncIterator[bytes]:
            async for chunk in original(reply):
                yield chunk
                await point.reach()

        return chunks

    _wrap(HttpReply, "chunks", wrapper)


def _before_settle(point: Failpoint) -> None:
    from apps.ledger.committer import Committer

    _wrap(Committer, "settle", _around(point, after=False))


def _after_settle(point: Failpoint) -> None:
    from apps.ledger.committer import Committer

    _wrap(Committer, "settle", _around(point, after=True))


_is_settling: ContextVar[bool] = ContextVar("is_settling", default=False)
"""The batch that is being committed holds a settlement."""
_is_committing: ContextVar[bool] = ContextVar("is_committing", default=False)
"""Its COMMIT is queued for the next round trip."""


def _commit_sent(point: Failpoint) -> None:
    _commit_sent_to_postgres(point)
    _commit_done_by_sqlite(point)


def _commit_sent_to_postgres(point: Failpoint) -> None:
    from apps.ledger.store.postgres import COMMIT, PostgresStore
    from apps.ledger.store.statements import Statements

    def commit_wrapper(original: Any) -> Any:
        async def commit(store: PostgresStore, operations: Sequence[Any], **named: Any) -> Any:
            _is_settling.set(_has_settlement(operations))
            _is_committing.set(False)
            return await original(store, operations, **named)

        return commit

    def ask_wrapper(original: Any) -> Any:
        def ask(statements: Statements, name: str, *parameters: str) -> None:
            _is_committing.set(name == COMMIT and _is_settling.get())
            original(statements, name, *parameters)

        return ask

    def answers_wrapper(original: Any) -> Any:
        async def answers(statements: Statements) -> Any:
            if not _is_committing.get():
                return await original(statements)
            # As far as its first wait: everything is on its way, nothing has been read.
            answering = asyncio.ensure_future(original(statements))
            await asyncio.sleep(0)
            try:
                await point.reach()
            except FailpointReached as reached:
                answering.cancel()
                # As a connection that breaks here: nobody knows whether it committed.
                raise psycopg.OperationalError(str(reached)) from None
            return await answering

        return answers

    _wrap(PostgresStore, "commit", commit_wrapper)
    _wrap(Statements, "ask", ask_wrapper)
    _wrap(Statements, "answers", answers_wrapper)


def _commit_done_by_sqlite(point: Failpoint) -> None:
    from apps.ledger.store.sqlite import SqliteStore

    def wrapper(original: Any) -> Any:
        def commit(store: SqliteStore, operations: Sequence[Any]) -> Any:
            outcomes = original(store, operations)
            if _has_settlement(operations):
                point.reach_in_thread()
            return outcomes

        return commit

    _wrap(SqliteStore, "_commit", wrapper)


def _has_settlement(operations: Sequence[Any]) -> bool:
    from apps.ledger.operations import Settle

    return any(isinstance(operation, Settle) for operation in operations)


_INSTALLERS: Final[dict[str, Callable[[Failpoint], None]]] = {
    "F0": _before_hold,
    "F1": _after_hold,
    "F2": _after_headers,
    "F3": _mid_stream,
    "F4": _before_settle,
    "F5": _commit_sent,
    "F6": _after_settle,
}
