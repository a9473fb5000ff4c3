"""Group commit: operations queue up while the previous batch commits, then one transaction takes them all.

One committer per process, one batch at a time, no gathering delay. A hold that only other holds stand in the way of
is parked and asked again when one of its account ends. While the store is away each operation is repeated for as long
as it is worth waiting for; what gives a hold back is repeated until the store has it, or nobody could spend the money
until this process ends.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from apps.core import clock
from apps.core.errors import GatewayError
from apps.ledger.operations import (
    BadOperation,
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
from apps.ledger.store.protocol import LEASE_RENEWAL_S, LedgerStore, StoreUnavailable

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
"""A hold is not worth waiting longer for a store that is away or does not answer: its caller gets 503."""
SETTLE_PATIENCE_S: Final = 15.0

Kind = TypeVar("Kind", bound=Outcome)


class LedgerUnavailable(GatewayError):
    """The store is away, or cannot keep up."""

    def __init__(self) -> None:
        super().__init__("store_unavailable", "The billing store is not available right now. Try again shortly.")


@dataclass(slots=True)
class _Job:
    operation: Operation
    outcome: asyncio.Future[Outcome]
    queued_at: float
    is_owed: bool = False
    """Gives a hold back that was granted, or may have been: never given up."""
    is_repeat: bool = False
    was_answered: bool = False
    """The store said that the hold has to wait: from then on it is other holds, not the store, that it waits for."""


class Committer:
    """The hot path's door to money: `hold`, then `settle` or `release`."""

    def __init__(self, store: LedgerStore, *, process_id: uuid.UUID, name: str) -> None:
        self.process_id = process_id
        self._name = name
        self._store = store
        self._queue: deque[_Job] = deque()
        self._queued_holds = 0
        self._parked: dict[uuid.UUID, deque[_Job]] = {}
        self._granted: set[uuid.UUID] = set()
        """Requests that hold credits, or may: their release is owed."""
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False
        self._is_open = False
        self._away_since: float | None = None
        self.is_ready = False
        """False while the store is away: readiness probes ask."""

    async def start(self) -> None:
        """Connect, take the process's lease, and begin to commit. Raises: StoreUnavailable."""
        await self._store.open()
        await self._store.renew_lease(self.process_id, name=self._name)
        self._is_open = self.is_ready = True
        self._tasks = [
            asyncio.create_task(self._commit_forever(), name="ledger committer"),
            asyncio.create_task(self._tick_forever(), name="ledger lease"),
        ]

    async def stop(self) -> None:
        """Commit what is queued, end the lease, disconnect. Takes SETTLE_PATIENCE_S where the store is away."""
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
        if self._is_stopping or self._is_long_away() or self._queued_holds >= MAX_QUEUED_HOLDS:
            raise LedgerUnavailable
        self._queued_holds += 1
        job = self._submit(asked)
        patience = asyncio.get_running_loop().call_later(HOLD_PATIENCE_S, self._lose_patience, job, asked)
        try:
            outcome = await job.outcome
        except asyncio.CancelledError:
            _swallow(job.outcome)
            self._give_back(asked)
            raise
        finally:
            patience.cancel()
            self._queued_holds -= 1
        return _expect(outcome, Granted)

    async def settle(self, asked: Settle) -> Settled:
        """Charge a hold; returns once that is durable. Raises: LedgerUnavailable; then the hold is still the caller's
        to release."""
        return _expect(await asyncio.shield(self._submit(asked).outcome), Settled)

    async def release(self, asked: Release) -> Released:
        """Give a hold back. Raises: LedgerUnavailable, for the caller's information: a hold is given back later."""
        return _expect(await asyncio.shield(self._submit(asked).outcome), Released)

    def record(self, asked: Release) -> None:
        """The same without waiting: for records of calls that nobody is waiting on."""
        self._submit(asked).outcome.add_done_callback(_swallow)

    def _submit(self, operation: Operation) -> _Job:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        is_owed = isinstance(operation, Release) and operation.request_id in self._granted
        job = _Job(operation, future, clock.monotonic(), is_owed)
        if self._is_open:
            self._queue.append(job)
            self._wake.set()
        else:
            future.set_exception(LedgerUnavailable())
        return job

    def _give_back(self, asked: Hold) -> None:
        """The grant may come, or be committed already: what is granted to nobody is given back, in a later batch."""
        self._granted.add(asked.request_id)
        self.record(Release(asked.request_id, asked.account_id, None))

    def _lose_patience(self, job: _Job, asked: Hold) -> None:
        if not job.was_answered and not job.outcome.done():
            job.outcome.set_exception(LedgerUnavailable())
            self._give_back(asked)

    async def _commit_forever(self) -> None:
        try:
            while self._queue or not self._is_stopping:
                if not self._queue:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                await self._commit([self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH))])
        finally:
            self._is_open = False

    async def _commit(self, batch: list[_Job]) -> None:
        batch = [job for job in batch if not (isinstance(job.operation, Hold) and job.outcome.done())]
        if not batch:
            return
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
            self._note_back()
            for job, outcome in zip(batch, outcomes, strict=True):
                self._finish(job, outcome)

    async def _bisect(self, batch: list[_Job], error: Exception) -> None:
        """One operation is bad: the others must not suffer for it."""
        if len(batch) == 1:
            job = batch[0]
            logger.error("operation %s failed: %s", type(job.operation).__name__, error)
            if not job.outcome.done():
                job.outcome.set_exception(LedgerUnavailable())
            if isinstance(job.operation, Release) and job.operation.record is not None:
                # A record that cannot be written must not keep the money.
                self.record(replace(job.operation, record=None))
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            for job in half:
                job.is_repeat = True
            await self._commit(half)

    async def _try_again(self, batch: list[_Job], error: StoreUnavailable) -> None:
        """The batch may have committed or not: keep it, marked as a repeat, for as long as each is worth waiting."""
        self._note_away(error)
        for job in batch:
            job.is_repeat = True
        self._queue.extendleft(reversed(batch))
        self._queue = deque(job for job in self._queue if self._is_worth_keeping(job))
        await asyncio.sleep(RETRY_PAUSE_S)

    def _is_worth_keeping(self, job: _Job) -> bool:
        patience_s = HOLD_PATIENCE_S if isinstance(job.operation, Hold) else SETTLE_PATIENCE_S
        is_late = clock.monotonic() - job.queued_at >= patience_s
        if is_late and not job.outcome.done():
            job.outcome.set_exception(LedgerUnavailable())
        return not job.outcome.done() or (job.is_owed and not (is_late and self._is_stopping))

    def _note_away(self, error: StoreUnavailable) -> None:
        if self._away_since is None:
            logger.error("the ledger's store is away: %s", error)
            self._away_since = clock.monotonic()
        self.is_ready = False

    def _note_back(self) -> None:
        self._away_since = None
        self.is_ready = True

    def _is_long_away(self) -> bool:
        """A store that earlier holds waited for in vain is not waited for again: the lease's renewal finds it back."""
        return self._away_since is not None and clock.monotonic() - self._away_since >= HOLD_PATIENCE_S

    def _finish(self, job: _Job, outcome: Outcome) -> None:
        operation = job.operation
        if isinstance(outcome, Waiting) and not job.outcome.done():
            job.was_answered = True
            if not self._is_stopping and clock.monotonic() - job.queued_at < RESERVED_WAIT_S:
                self._parked.setdefault(operation.account_id, deque()).append(job)
            else:
                job.outcome.set_exception(outcome.refusal)
            return
        if not isinstance(operation, (Hold, Move)):
            self._granted.discard(operation.request_id)
            self._unpark(operation.account_id)
        if job.outcome.done():
            return
        if isinstance(outcome, Exception):
            job.outcome.set_exception(outcome)
            return
        if isinstance(outcome, Granted) and isinstance(operation, Hold):
            self._granted.add(operation.request_id)
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
            if self.is_ready and clock.monotonic() - renewed_at < LEASE_RENEWAL_S:
                continue
            try:
                await self._store.renew_lease(self.process_id, name=self._name)
            except StoreUnavailable as error:
                self._note_away(error)
            except Exception:
                # Whatever it was: a process without a lease loses its holds while its calls run.
                logger.exception("the lease could not be renewed")
            else:
                renewed_at = clock.monotonic()
                self._note_back()


def _expect(outcome: Outcome, kind: type[Kind]) -> Kind:
    assert isinstance(outcome, kind), f"expected {kind.__name__}, got {outcome!r}"
    return outcome


def _swallow(future: asyncio.Future[Outcome]) -> None:
    """Nobody waits for this outcome; its failure was logged where it happened."""
    if not future.cancelled():
        future.exception()
