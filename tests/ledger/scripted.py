"""A store that says what a test tells it to, and remembers what it was told."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Sequence

from apps.core.ids import new_id
from apps.ledger.operations import (
    Busy,
    Granted,
    Hold,
    Move,
    Operation,
    Outcome,
    Release,
    Released,
    Settle,
    Settled,
)
from apps.ledger.store.protocol import StoreUnavailable
from apps.usage.record import Record
from tests.ledger.contract import NOON

ACCOUNT_ID, KEY_ID, PROCESS_ID = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)

Reply = Callable[[Sequence[Operation]], Sequence[Outcome | Busy]] | Exception


class ScriptedStore:
    """Answers batches from a script, in order, then as `agreeable` does. `gate` closed: a commit is under way."""

    def __init__(self, second: ScriptedStore | None = None) -> None:
        self.second = second
        self.batches: list[list[Operation]] = []
        self.committed: list[list[Operation]] = []
        self.repeats: list[bool] = []
        self.script: deque[Reply] = deque()
        self.lease_script: deque[Exception] = deque()
        self.renewals = 0
        self.events: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def open(self) -> None:
        self.events.append("open")

    async def close(self) -> None:
        self.events.append("close")

    def beside(self) -> ScriptedStore | None:
        return self.second

    async def renew_lease(self, process_id: uuid.UUID, *, name: str) -> int:
        self.renewals += 1
        if self.lease_script:
            raise self.lease_script.popleft()
        return 1

    async def end_lease(self, process_id: uuid.UUID) -> None:
        self.events.append("end lease")

    async def commit(self, operations: Sequence[Operation], *, is_repeat: bool = False) -> Sequence[Outcome | Busy]:
        self.batches.append(list(operations))
        self.repeats.append(is_repeat)
        await self.gate.wait()
        reply = self.script.popleft() if self.script else agreeable
        if isinstance(reply, Exception):
            raise reply
        outcomes = reply(operations)
        self.committed.append(list(operations))
        return outcomes

    def is_away(self, *, times: int = 1_000) -> None:
        self.script.extend(StoreUnavailable("no route to host") for _ in range(times))
        self.lease_script.extend(StoreUnavailable("no route to host") for _ in range(times))

    def is_back(self) -> None:
        self.script.clear()
        self.lease_script.clear()

    def told(self) -> list[list[str]]:
        """What each batch held, by kind."""
        return [[type(operation).__name__ for operation in batch] for batch in self.batches]


def agreeable(operations: Sequence[Operation]) -> list[Outcome]:
    """Whatever is asked is done."""
    outcomes: list[Outcome] = []
    for operation in operations:
        if isinstance(operation, Hold):
            outcomes.append(Granted(operation.wanted_micro))
        elif isinstance(operation, Settle):
            outcomes.append(Settled(operation.charge_micro, 1_000, 1_000 - operation.charge_micro))
        else:
            assert not isinstance(operation, Move)
            outcomes.append(Released(was_open=True))
    return outcomes


def hold(*, account_id: uuid.UUID = ACCOUNT_ID, wanted: int = 100) -> Hold:
    return Hold(new_id(), account_id, KEY_ID, "claude-sonnet-4-7", PROCESS_ID, wanted, wanted)


def record_of(asked: Hold) -> Record:
    return Record(asked.request_id, asked.account_id, asked.key_id, asked.model_id, "chat", False, NOON)


def settle(asked: Hold, charge: int = 10) -> Settle:
    return Settle(asked.request_id, asked.account_id, charge, record_of(asked))


def release(asked: Hold) -> Release:
    return Release(asked.request_id, asked.account_id, record_of(asked))
