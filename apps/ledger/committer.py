"""Group commit: operations queue up while the previous batch commits, then one transaction takes them all.

One committer per process, one batch at a time, no gathering delay; operations of accounts that somebody else keeps
locked wait in a second lane. A hold that only other holds stand in the way of is parked and asked again when one of its
account ends. A settlement that the store does not take in time goes to the journal (`late.py`).
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from dataclasses import replace
from typing import Final, TypeVar

from apps.core import clock
from apps.ledger import lane
from apps.ledger.journal.journal import Journal
from apps.ledger.lane import Job, Lane, LedgerUnavailable, SecondLane
from apps.ledger.late import LateSettlements
from apps.ledger.operations import (
    Granted,
    Hold,
    Move,
    Operation,
    Outcome,
    Pending,
    Release,
    Released,
    Settle,
    Settled,
    Waiting,
    copy_record,
)
from apps.ledger.store.protocol import LEASE_RENEWAL_S, LedgerStore, StoreUnavailable

__all__ = ["Committer", "LedgerUnavailable"]

logger = logging.getLogger(__name__)

MAX_QUEUED_HOLDS: Final = 4_096
"""Holds beyond this are refused with 503; settlements and releases always find a place."""
RESERVED_WAIT_S: Final = 10.0
"""How long a hold waits for other holds of its account (SPEC 2.2)."""
PARKED_POLL_S: Final = 0.5
"""Holds of another process may have ended: ask again this often."""
STOP_PATIENCE_S: Final = 5.0
"""A process that stops gives its store so long to take what is queued."""
REPLAY_PATIENCE_S: Final = 10.0
"""A process that starts waits so long for what it found in journals, before it serves."""

Kind = TypeVar("Kind", bound=Outcome)


class Committer:
    """The hot path's door to money: `hold`, then `settle` or `release`."""

    def __init__(self, store: LedgerStore, *, process_id: uuid.UUID, name: str, journal: Journal | None = None) -> None:
        self.process_id = process_id
        self.live_processes = 1
        """Gateway processes on this database, as of the last renewal of the lease."""
        self._name = name
        self._store = store
        self._second_store = store.beside()
        self._second: SecondLane | None = None
        if self._second_store is not None:
            self._second = SecondLane(self._second_store, self._finish, self._fail)
        self._first = Lane(store, self._finish, self._fail, second=self._second)
        self._lanes = [self._first] if self._second is None else [self._first, self._second]
        self._late = LateSettlements(journal)
        self._queued_holds = 0
        self._parked: dict[uuid.UUID, deque[Job]] = {}
        self._granted: set[uuid.UUID] = set()
        """Requests that hold credits, or may: their release is owed."""
        self._ticking: list[asyncio.Task[None]] = []
        self._is_stopping = False

    @property
    def is_ready(self) -> bool:
        """False while the store is away: readiness probes ask."""
        return self._first.is_open and self._first.away_since is None

    @property
    def journalled(self) -> int:
        """Settlements in this process's care that are on disk and not in the store."""
        return self._late.pending

    async def start(self) -> None:
        """Connect, take the process's lease, begin to commit, and replay what dead processes left in their journals.

        Raises: StoreUnavailable, JournalFailed.
        """
        await self._late.open()
        await self._store.open()
        self.live_processes = await self._store.renew_lease(self.process_id, name=self._name)
        self._first.start("ledger committer")
        if self._second is not None:
            self._second.start("ledger committer of locked accounts")
        replayed = await self._adopt()
        if replayed:
            await asyncio.wait(replayed, timeout=REPLAY_PATIENCE_S)
        self._ticking = [
            asyncio.create_task(self._renew_forever(), name="ledger lease"),
            asyncio.create_task(self._look_forever(), name="ledger patience"),
        ]

    async def stop(self) -> None:
        """Commit what is queued, or write it down where the store is away; end the lease, disconnect."""
        self._is_stopping = True
        self._unpark_all()
        for ticking in self._ticking:
            ticking.cancel()
        await asyncio.gather(*self._ticking, return_exceptions=True)
        stopping = asyncio.create_task(self._stop_lanes())
        _, unfinished = await asyncio.wait([stopping], timeout=STOP_PATIENCE_S)
        if unfinished:
            await self._late.secure([job for each in self._lanes for job in each.settlements()])
            for each in self._lanes:
                await each.give_up()
            await asyncio.gather(stopping, return_exceptions=True)
        await self._late.close()
        try:
            # A store that did not answer just now is not asked again: whoever stops us does not wait for ever.
            if not unfinished:
                await self._store.end_lease(self.process_id)
        except StoreUnavailable:
            logger.warning("the lease could not be ended in order; it runs out by itself")
        await self._store.close()
        if self._second_store is not None:
            await self._second_store.close()

    async def _stop_lanes(self) -> None:
        # In this order: what the first lane cannot have passes into the second.
        for each in self._lanes:
            await each.stop()

    async def hold(self, asked: Hold) -> Granted:
        """Set credits aside. Raises: HoldRefused, LedgerUnavailable."""
        if self._is_stopping or self._is_long_away() or self._queued_holds >= MAX_QUEUED_HOLDS:
            raise LedgerUnavailable
        self._queued_holds += 1
        job = self._submit(asked)
        patience = asyncio.get_running_loop().call_later(lane.HOLD_PATIENCE_S, _lose_patience, job)
        try:
            outcome = await job.outcome
        except (asyncio.CancelledError, LedgerUnavailable):
            _swallow(job.outcome)
            self._give_back(asked)
            raise
        finally:
            patience.cancel()
            self._queued_holds -= 1
        return _expect(outcome, Granted)

    async def settle(self, asked: Settle) -> Settled | Pending:
        """Charge a hold; returns once that is durable: in the store, or, where it is away for long, in the journal.

        Raises: LedgerUnavailable; then the call has failed, and the hold is the caller's to release.
        """
        # The caller may leave and write how into its own record; what is charged keeps the record as it was asked.
        job = self._submit(replace(asked, record=copy_record(asked.record)))
        outcome = await asyncio.shield(job.outcome)
        return outcome if isinstance(outcome, Pending) else _expect(outcome, Settled)

    async def release(self, asked: Release) -> Released:
        """Give a hold back. Raises: LedgerUnavailable, for the caller's information: a hold is given back later."""
        return _expect(await asyncio.shield(self._submit(asked).outcome), Released)

    def record(self, asked: Release) -> None:
        """The same without waiting: for records of calls that nobody is waiting on."""
        self._submit(asked).outcome.add_done_callback(_swallow)

    def _submit(self, operation: Operation) -> Job:
        future: asyncio.Future[Outcome | Pending] = asyncio.get_running_loop().create_future()
        is_owed = isinstance(operation, Release) and operation.request_id in self._granted
        if isinstance(operation, Release) and operation.request_id in self._late.unsure:
            operation = replace(operation, annuls=True)
            is_owed = True
        job = Job(operation, future, clock.monotonic(), is_owed)
        self._put(job)
        return job

    def _put(self, job: Job) -> None:
        lane_of_job = self._lane_of(job.account_id)
        if lane_of_job.is_open:
            lane_of_job.put([job])
        else:
            job.outcome.set_exception(LedgerUnavailable())

    def _lane_of(self, account_id: uuid.UUID) -> Lane:
        second = self._second
        return self._first if second is None or account_id not in second.accounts else second

    def _give_back(self, asked: Hold) -> None:
        """The grant may come, or be committed already: what is granted to nobody is given back, in a later batch."""
        self._granted.add(asked.request_id)
        self.record(Release(asked.request_id, asked.account_id, None))

    def _is_long_away(self) -> bool:
        """A store that earlier holds waited for in vain is not waited for again: the lease's renewal finds it back."""
        away_since = self._first.away_since
        return away_since is not None and clock.monotonic() - away_since >= lane.HOLD_PATIENCE_S

    def _finish(self, job: Job, outcome: Outcome) -> None:
        operation = job.operation
        if isinstance(outcome, Waiting) and not job.outcome.done():
            job.was_answered = True
            may_wait = isinstance(operation, Hold) and operation.may_wait and not self._is_stopping
            if may_wait and clock.monotonic() - job.queued_at < RESERVED_WAIT_S:
                self._parked.setdefault(operation.account_id, deque()).append(job)
            else:
                job.outcome.set_exception(outcome.refusal)
            return
        if not isinstance(operation, (Hold, Move)):
            self._granted.discard(operation.request_id)
            self._unpark(operation.account_id)
            if isinstance(operation, Release):
                self._late.unsure.discard(operation.request_id)
            self._late.forget(job)
        if job.outcome.done():
            return
        if isinstance(outcome, Exception):
            job.outcome.set_exception(outcome)
            return
        if isinstance(outcome, Granted) and isinstance(operation, Hold):
            self._granted.add(operation.request_id)
        job.outcome.set_result(outcome)

    def _fail(self, job: Job, error: Exception) -> None:
        """The store refuses this operation for what it holds, and would refuse it again."""
        operation = job.operation
        logger.error("operation %s failed: %s", type(operation).__name__, error)
        if isinstance(operation, Settle) and job.is_repeat and job.journal is None:
            self._late.unsure.add(operation.request_id)
        if not job.outcome.done():
            job.outcome.set_exception(LedgerUnavailable())
        self._late.put_aside(job)
        if isinstance(operation, Release) and operation.record is not None:
            # A record that cannot be written must not keep the money.
            self.record(replace(operation, record=None))

    def _unpark(self, account_id: uuid.UUID) -> None:
        waiting = self._parked.pop(account_id, None)
        if waiting:
            self._lane_of(account_id).put(waiting)

    def _unpark_all(self) -> None:
        for account_id in list(self._parked):
            self._unpark(account_id)

    async def _look_forever(self) -> None:
        """Look again for those who wait: for other processes' holds, for a store that is away, in journals."""
        while True:
            await asyncio.sleep(PARKED_POLL_S)
            self._unpark_all()
            since = clock.monotonic() - lane.SETTLE_PATIENCE_S
            late = [
                job for each in self._lanes for job in each.settlements() if job.queued_at <= since and not job.is_late
            ]
            if late:
                self._late.take(late)
            if self._late.is_due and self.is_ready:
                await self._adopt()

    async def _adopt(self) -> list[asyncio.Future[Outcome | Pending]]:
        """Queue what dead processes left in their journals, each to be told from then on."""
        jobs = await self._late.adopt()
        for job in jobs:
            job.outcome.add_done_callback(_swallow)
            self._put(job)
        return [job.outcome for job in jobs]

    async def _renew_forever(self) -> None:
        """Renew the lease; while the store is away, look for it."""
        renewed_at = clock.monotonic()
        while True:
            await asyncio.sleep(PARKED_POLL_S)
            if self.is_ready and clock.monotonic() - renewed_at < LEASE_RENEWAL_S:
                continue
            try:
                self.live_processes = await self._store.renew_lease(self.process_id, name=self._name)
            except StoreUnavailable as error:
                self._first.note_away(error)
            except Exception:
                # Whatever it was: a process without a lease loses its holds while its calls run.
                logger.exception("the lease could not be renewed")
            else:
                renewed_at = clock.monotonic()
                self._first.note_back()


def _expect(outcome: Outcome | Pending, kind: type[Kind]) -> Kind:
    assert isinstance(outcome, kind), f"expected {kind.__name__}, got {outcome!r}"
    return outcome


def _lose_patience(job: Job) -> None:
    if not job.was_answered and not job.outcome.done():
        job.outcome.set_exception(LedgerUnavailable())


def _swallow(future: asyncio.Future[Outcome | Pending]) -> None:
    """Nobody waits for this outcome; its failure was logged where it happened."""
    if not future.cancelled():
        future.exception()
