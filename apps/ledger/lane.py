"""One queue, one connection, one batch at a time; and a second of the kind for accounts that somebody else has locked.

While the store is away each operation is repeated for as long as it is worth waiting for. What is owed is repeated
until the store has it: what gives a hold back, or nobody could spend the money until this process ends, and settlements
that are in the journal.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from apps.core import clock
from apps.core.errors import GatewayError
from apps.ledger.journal.file import JournalFile
from apps.ledger.operations import BadOperation, Busy, Hold, Operation, Outcome, Pending, Settle
from apps.ledger.store.protocol import LedgerStore, StoreUnavailable

logger = logging.getLogger(__name__)

MAX_BATCH: Final = 256
RETRY_PAUSE_S: Final = 0.2
HOLD_PATIENCE_S: Final = 2.0
"""A hold is not worth waiting longer for a store that is away or does not answer: its caller gets 503."""
SETTLE_PATIENCE_S: Final = 15.0


class LedgerUnavailable(GatewayError):
    """The store is away, or cannot keep up."""

    def __init__(self) -> None:
        super().__init__("store_unavailable", "The billing store is not available right now. Try again shortly.")


@dataclass(slots=True)
class Job:
    """An operation on its way into the store, and who waits for what comes of it."""

    operation: Operation
    outcome: asyncio.Future[Outcome | Pending]
    queued_at: float
    is_owed: bool = False
    """Never given up: it gives a hold back that was granted, or may have been; or it is in the journal."""
    is_repeat: bool = False
    was_answered: bool = False
    """The store said that the hold has to wait: from then on it is other holds, not the store, that it waits for."""
    is_late: bool = False
    """A settlement that waited long enough: its caller is about to be told what to rely on."""
    journal: JournalFile | None = None
    """Where it is on disk."""

    @property
    def account_id(self) -> uuid.UUID:
        return self.operation.account_id


class Lane:
    """Commits what is queued, in order. `finish` is told each outcome, `fail` what the store refuses to commit."""

    def __init__(
        self,
        store: LedgerStore,
        finish: Callable[[Job, Outcome], None],
        fail: Callable[[Job, Exception], None],
        *,
        second: SecondLane | None = None,
    ) -> None:
        self.is_open = False
        self.away_since: float | None = None
        """Monotonic seconds; None while the store answers."""
        self._store = store
        self._finish = finish
        self._fail = fail
        self._second = second
        self._queue: deque[Job] = deque()
        self._batch: list[Job] = []
        """On its way to the store."""
        self._busy: list[Job] = []
        """What this turn could not have, in order."""
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self, name: str) -> None:
        self.is_open = True
        self._task = asyncio.create_task(self._commit_forever(), name=name)

    async def stop(self) -> None:
        """Return when everything is committed: where the store is away, only after `give_up`."""
        self._is_stopping = True
        self._wake.set()
        if self._task is not None:
            await asyncio.shield(self._task)

    async def give_up(self) -> None:
        """Stop now; those who still wait are told that the store is away."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for job in self._jobs():
            if not job.outcome.done():
                job.outcome.set_exception(LedgerUnavailable())

    def settlements(self) -> list[Job]:
        """Those whose callers wait. What is on disk already, a dead process's, has none."""
        return [
            job
            for job in self._jobs()
            if isinstance(job.operation, Settle) and job.journal is None and not job.outcome.done()
        ]

    def _jobs(self) -> list[Job]:
        # What the store did not take is back in the queue while its batch pauses; what is busy is of the batch.
        return list({id(job): job for job in (*self._batch, *self._queue)}.values())

    def put(self, jobs: Iterable[Job]) -> None:
        self._queue.extend(jobs)
        self._wake.set()

    def note_away(self, error: StoreUnavailable) -> None:
        if self.away_since is None:
            logger.error("the ledger's store is away: %s", error)
            self.away_since = clock.monotonic()

    def note_back(self) -> None:
        if self.away_since is not None:
            logger.warning("the ledger's store is back after %.1f s", clock.monotonic() - self.away_since)
            self.away_since = None

    async def _commit_forever(self) -> None:
        try:
            while self._queue or not self._is_stopping:
                if not self._queue:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                await self._turn()
        finally:
            self.is_open = False

    async def _turn(self) -> None:
        self._batch = self._take()
        await self._commit(self._batch)
        self._batch = []
        if self._busy:
            busy, self._busy = self._busy, []
            self._make_way(busy)

    def _take(self) -> list[Job]:
        return [self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH))]

    async def _commit(self, batch: list[Job]) -> None:
        batch = [job for job in batch if not _is_moot(job)]
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
            self.note_back()
            for job, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Busy):
                    self._busy.append(job)
                else:
                    self._finish(job, outcome)

    def _make_way(self, busy: list[Job]) -> None:
        """Somebody keeps these accounts locked: they wait beside this lane, and what comes later for them follows."""
        assert self._second is not None, "a store without a second connection has no busy accounts"
        accounts = {job.account_id for job in busy}
        logger.warning("%d accounts are locked by others: their operations wait in the second lane", len(accounts))
        self._second.put([*busy, *self._withdraw(accounts)])

    def _withdraw(self, accounts: Collection[uuid.UUID]) -> list[Job]:
        """Take these accounts' operations out of the queue, in order."""
        withdrawn = [job for job in self._queue if job.account_id in accounts]
        self._queue = deque(job for job in self._queue if job.account_id not in accounts)
        return withdrawn

    async def _bisect(self, batch: list[Job], error: Exception) -> None:
        """One operation is bad: the others must not suffer for it."""
        if len(batch) == 1:
            self._fail(batch[0], error)
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            for job in half:
                job.is_repeat = True
            # What follows an operation of its account that could not be had stays behind it.
            accounts = {job.account_id for job in self._busy}
            self._busy.extend(job for job in half if job.account_id in accounts)
            await self._commit([job for job in half if job.account_id not in accounts])

    async def _try_again(self, batch: list[Job], error: StoreUnavailable) -> None:
        """The batch may have committed or not: keep it, marked as a repeat, for as long as each is worth waiting."""
        self.note_away(error)
        for job in batch:
            job.is_repeat = True
        self._put_back(batch)
        await asyncio.sleep(RETRY_PAUSE_S)

    def _put_back(self, batch: list[Job]) -> None:
        self._queue.extendleft(reversed(batch))
        self._queue = deque(job for job in self._queue if self._is_worth_keeping(job))

    def _is_worth_keeping(self, job: Job) -> bool:
        """How long a settlement waits is the committer's to say, also where the store never answers."""
        if not isinstance(job.operation, Settle) and not job.outcome.done():
            patience_s = HOLD_PATIENCE_S if isinstance(job.operation, Hold) else SETTLE_PATIENCE_S
            if clock.monotonic() - job.queued_at >= patience_s:
                job.outcome.set_exception(LedgerUnavailable())
        return not job.outcome.done() or job.is_owed


def _is_moot(job: Job) -> bool:
    """Its caller was told that it failed, or left: it must not be committed any more."""
    return isinstance(job.operation, (Hold, Settle)) and job.outcome.done() and not job.is_owed


class SecondLane(Lane):
    """Waits, on a connection of its own, for accounts that somebody keeps locked.

    Each batch waits for the lock as long as any; an account that still cannot be had keeps its place here. Turns
    alternate: all accounts, of which those that are free are served, then one alone, each in its turn. So what became
    free is not kept waiting by what did not, and nobody loses every race for a busy account.
    """

    def __init__(
        self, store: LedgerStore, finish: Callable[[Job, Outcome], None], fail: Callable[[Job, Exception], None]
    ) -> None:
        super().__init__(store, finish, fail)
        self.accounts: set[uuid.UUID] = set()
        """Those that have operations here: whatever comes for them must come here, or it would overtake."""
        self._waits_for_one = True

    def put(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self.accounts.add(job.account_id)
            self._queue.append(job)
        self._wake.set()

    def _take(self) -> list[Job]:
        self._waits_for_one = not self._waits_for_one
        accounts = dict.fromkeys(job.account_id for job in self._queue)
        if self._waits_for_one:
            # Its rest, if it has more than a batch, goes to the end with what cannot be committed now.
            batch = self._withdraw({next(iter(accounts))})
            self._queue.extend(batch[MAX_BATCH:])
            return batch[:MAX_BATCH]
        share = max(1, MAX_BATCH // len(accounts))
        taken: dict[uuid.UUID, int] = dict.fromkeys(accounts, 0)
        batch, left = [], deque[Job]()
        for job in self._queue:
            if taken[job.account_id] < share and len(batch) < MAX_BATCH:
                taken[job.account_id] += 1
                batch.append(job)
            else:
                left.append(job)
        self._queue = left
        return batch

    async def _turn(self) -> None:
        await super()._turn()
        self.accounts = {job.account_id for job in self._queue}

    def _make_way(self, busy: list[Job]) -> None:
        """Keep what could not be had before what came later for its account, behind the other accounts."""
        later = self._withdraw({job.account_id for job in busy})
        self._queue.extend(job for job in [*busy, *later] if self._is_worth_keeping(job))
