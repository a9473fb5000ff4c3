"""Group commit: operations queue up while the previous batch commits, then one transaction takes them all.

One committer per process, one batch at a time, no gathering delay. A hold that only other holds stand in the way of
is parked and asked again when one of its account ends. A settlement is never refused and never forgotten: it is
repeated until the store has it, or until the committer is told to stop waiting.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Final, TypeVar

from apps.core import clock
from apps.core.errors import GatewayError
from apps.ledger.operations import (
    Granted,
    Hold,
    Move,
    Operation,
    Outcome,
    Release,
    Released,
    Settle,
    Settled,
    Waiting,
)
from apps.ledger.store.protocol import LEASE_RENEWAL_S, BadOperation, LedgerStore, StoreUnavailable

logger = logging.getLogger(__name__)

MAX_BATCH: Final = 256
MAX_QUEUED_HOLDS: Final = 4_096
"""Holds beyond this are refused with 503; settlements and releases always find a place."""
RESERVED_WAIT_S: Final = 10.0
"""How long a hold waits for other holds of its account (SPEC 2.2)."""
PARKED_POLL_S: Final = 0.5
"""Holds of another process may have ended: ask again this often."""
RETRY_PAUSE_S: Final = 0.2
HOLD_PATIENCE_S: Final = 2.0
"""A hold is not worth waiting longer for a store that is away: its caller gets 503."""
SETTLE_PATIENCE_S: Final = 15.0

Expected = TypeVar("Expected", bound=Outcome)


class LedgerUnavailable(GatewayError):
    """The store is away, or cannot keep up."""

    def __init__(self) -> None:
        super().__init__("store_unavailable", "The billing store is not available right now. Try again shortly.")


@dataclass(slots=True)
class _Job:
    operation: Operation
    outcome: asyncio.Future[Outcome]
    queued_at: float
    is_repeat: bool = False
    parked: Waiting | None = field(default=None)


class Committer:
    """The hot path's door to money: `hold`, then `settle` or `release`."""

    def __init__(self, store: LedgerStore, *, process_id: uuid.UUID, name: str) -> None:
        self.process_id = process_id
        self._name = name
        self._store = store
        self._queue: deque[_Job] = deque()
        self._queued_holds = 0
        self._parked: dict[uuid.UUID, deque[_Job]] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False
        self.is_ready = False
        """False while the store is away: readiness probes ask."""

    async def start(self) -> None:
        """Connect, take the process's lease, and begin to commit. Raises: StoreUnavailable."""
        await self._store.open()
        await self._store.renew_lease(self.process_id, name=self._name)
        self.is_ready = True
        self._tasks = [
            asyncio.create_task(self._commit_forever(), name="ledger committer"),
            asyncio.create_task(self._tick_forever(), name="ledger lease"),
        ]

    async def stop(self) -> None:
        """Commit what is queued, end the lease, disconnect."""
        self._is_stopping = True
        self._unpark_all()
        self._wake.set()
        if self._tasks:
            committing, ticking = self._tasks
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)
            await committing
            self._tasks = []
        try:
            await self._store.end_lease(self.process_id)
        except StoreUnavailable:
            logger.warning("the lease could not be ended in order; it runs out by itself")
        await self._store.close()

    async def hold(self, asked: Hold) -> Granted:
        """Set credits aside. Raises: HoldRefused, LedgerUnavailable."""
        if self._is_stopping or self._queued_holds >= MAX_QUEUED_HOLDS:
            raise LedgerUnavailable
        self._queued_holds += 1
        future = self._submit(asked)
        try:
            outcome = await future
        except asyncio.CancelledError:
            # The grant may come, or be committed already: what is granted to nobody is given back.
            future.add_done_callback(lambda _: self._submit(Release(asked.request_id, asked.account_id, None)))
            raise
        finally:
            self._queued_holds -= 1
        return _expect(outcome, Granted)

    async def settle(self, asked: Settle) -> Settled:
        """Charge a hold; returns once that is durable. Raises: LedgerUnavailable."""
        return _expect(await asyncio.shield(self._submit(asked)), Settled)

    async def release(self, asked: Release) -> Released:
        """Give a hold back. Raises: LedgerUnavailable."""
        return _expect(await asyncio.shield(self._submit(asked)), Released)

    def record(self, asked: Release) -> None:
        """The same without waiting: for records of calls that nobody is waiting on."""
        self._submit(asked).add_done_callback(_swallow)

    def _submit(self, operation: Operation) -> asyncio.Future[Outcome]:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._queue.append(_Job(operation, future, clock.monotonic()))
        self._wake.set()
        return future

    async def _commit_forever(self) -> None:
        while True:
            if not self._queue:
                if self._is_stopping:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH))]
            batch = [job for job in batch if not (isinstance(job.operation, Hold) and job.outcome.cancelled())]
            if batch:
                await self._commit(batch)

    async def _commit(self, batch: list[_Job]) -> None:
        try:
            outcomes = await self._store.commit(
                [job.operation for job in batch], is_repeat=any(job.is_repeat for job in batch)
            )
        except StoreUnavailable as error:
            await self._try_again(batch, error)
        except BadOperation as error:
            await self._bisect(batch, error)
        except Exception as error:
            logger.exception("a batch could not be decided")
            await self._bisect(batch, error)
        else:
            self.is_ready = True
            for job, outcome in zip(batch, outcomes, strict=True):
                self._finish(job, outcome)

    async def _bisect(self, batch: list[_Job], error: Exception) -> None:
        """One operation is bad: the others must not suffer for it."""
        if len(batch) == 1:
            job = batch[0]
            logger.error("operation %s failed: %s", type(job.operation).__name__, error)
            if not job.outcome.done():
                job.outcome.set_exception(LedgerUnavailable())
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            for job in half:
                job.is_repeat = True
            await self._commit(half)

    async def _try_again(self, batch: list[_Job], error: StoreUnavailable) -> None:
        """The batch may have committed or not: keep it, marked as a repeat, for as long as each is worth waiting."""
        if self.is_ready:
            logger.error("the ledger's store is away: %s", error)
        self.is_ready = False
        now = clock.monotonic()
        for job in reversed(batch):
            job.is_repeat = True
            patience_s = HOLD_PATIENCE_S if isinstance(job.operation, Hold) else SETTLE_PATIENCE_S
            is_worth_waiting = now - job.queued_at < patience_s and not self._is_abandoned(job)
            if not is_worth_waiting and not job.outcome.done():
                job.outcome.set_exception(LedgerUnavailable())
            # What a call holds is given back whenever the store returns, whoever still waits for it.
            if is_worth_waiting or (isinstance(job.operation, Release) and not self._is_stopping):
                self._queue.appendleft(job)
        await asyncio.sleep(RETRY_PAUSE_S)

    def _is_abandoned(self, job: _Job) -> bool:
        return isinstance(job.operation, Hold) and job.outcome.cancelled()

    def _finish(self, job: _Job, outcome: Outcome) -> None:
        if isinstance(outcome, Waiting) and not self._is_stopping and not job.outcome.done():
            if clock.monotonic() - job.queued_at < RESERVED_WAIT_S:
                job.parked = outcome
                self._parked.setdefault(job.operation.account_id, deque()).append(job)
                return
            job.outcome.set_exception(outcome.refusal)
            return
        if not isinstance(job.operation, (Hold, Move)):
            self._unpark(job.operation.account_id)
        if job.outcome.done():
            return
        if isinstance(outcome, Waiting):
            job.outcome.set_exception(outcome.refusal)
        elif isinstance(outcome, Exception):
            job.outcome.set_exception(outcome)
        else:
            job.outcome.set_result(outcome)

    def _unpark(self, account_id: uuid.UUID) -> None:
        waiting = self._parked.pop(account_id, None)
        if waiting:
            self._queue.extend(waiting)
            self._wake.set()

    def _unpark_all(self) -> None:
        for account_id in list(self._parked):
            self._unpark(account_id)

    async def _tick_forever(self) -> None:
        """Renew the lease, and look again for those who wait for other processes' holds."""
        renewed_at = clock.monotonic()
        while True:
            await asyncio.sleep(PARKED_POLL_S)
            self._unpark_all()
            if clock.monotonic() - renewed_at >= LEASE_RENEWAL_S:
                try:
                    await self._store.renew_lease(self.process_id, name=self._name)
                    renewed_at = clock.monotonic()
                except StoreUnavailable as error:
                    logger.warning("the lease could not be renewed: %s", error)


def _expect(outcome: Outcome, kind: type[Expected]) -> Expected:
    assert isinstance(outcome, kind), f"expected {kind.__name__}, got {outcome!r}"
    return outcome


def _swallow(future: asyncio.Future[Outcome]) -> None:
    """Nobody waits for this outcome; its failure was logged where it happened."""
    if not future.cancelled():
        future.exception()
