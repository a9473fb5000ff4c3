"""What becomes of settlements that the store did not take in time: written down, and as good as billed; or failed."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from apps.core import clock
from apps.ledger.journal.file import JournalFailed, JournalFile
from apps.ledger.journal.journal import Journal
from apps.ledger.lane import Job, LedgerUnavailable
from apps.ledger.operations import Pending, Settle

logger = logging.getLogger(__name__)

ADOPT_EVERY_S: Final = 10.0


class LateSettlements:
    """Between the committer and its journal; without one every late settlement fails."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self._tasks: set[asyncio.Task[None]] = set()
        self._looked_at = 0.0
        self.unsure: set[uuid.UUID] = set()
        """Requests that were told that they failed, though the store may have settled them."""

    @property
    def pending(self) -> int:
        """Settlements on disk that the store does not have yet."""
        return 0 if self._journal is None else self._journal.pending

    async def open(self) -> None:
        """Raises: JournalFailed."""
        if self._journal is not None:
            await self._journal.open()

    async def close(self) -> None:
        """What is pending is left to whoever adopts it."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._journal is not None:
            await self._journal.close()

    def take(self, jobs: Sequence[Job]) -> None:
        """Secure them, beside whatever else goes on."""
        for job in jobs:
            job.is_late = True
        self._spawn(self.secure(jobs))

    async def secure(self, jobs: Sequence[Job]) -> None:
        """Tell their callers what they may rely on: Pending where they are on disk, else that they failed.

        A job that is on disk stays in its lane until the store has it.
        """
        file = await self._write_down([job.operation for job in jobs if isinstance(job.operation, Settle)])
        for job in jobs:
            settlement = job.operation
            assert isinstance(settlement, Settle)
            if file is not None:
                job.journal = file
                if job.outcome.done():  # the store had it meanwhile, or refused it
                    self.forget(job)
                else:
                    job.is_owed = True
                    job.outcome.set_result(Pending(settlement.charge_micro))
            elif not job.outcome.done():
                self.unsure.add(settlement.request_id)
                job.outcome.set_exception(LedgerUnavailable())

    async def _write_down(self, settlements: list[Settle]) -> JournalFile | None:
        if self._journal is None:
            return None
        try:
            file = await self._journal.append(settlements)
        except JournalFailed as error:
            logger.error("%d settlements could not be written down and fail: %s", len(settlements), error)
            return None
        logger.warning("%d settlements wait in the journal for the store", len(settlements))
        return file

    async def adopt(self) -> list[Job]:
        """The settlements of processes that are gone, as jobs for the committer's lanes. At most every ADOPT_EVERY_S;
        `is_due` tells."""
        self._looked_at = clock.monotonic()
        if self._journal is None:
            return []
        jobs = []
        for file in await self._journal.adopt():
            logger.warning("%d settlements of a process that is gone are replayed: %s", len(file.pending), file.path)
            for settlement in list(file.pending.values()):
                outcome = asyncio.get_running_loop().create_future()
                jobs.append(Job(settlement, outcome, clock.monotonic(), is_owed=True, is_repeat=True, journal=file))
        return jobs

    @property
    def is_due(self) -> bool:
        return self._journal is not None and clock.monotonic() - self._looked_at >= ADOPT_EVERY_S

    def forget(self, job: Job) -> None:
        """The store has it."""
        if self._journal is not None and job.journal is not None and isinstance(job.operation, Settle):
            self._spawn(self._journal.forget(job.journal, job.operation.request_id))

    def put_aside(self, job: Job) -> None:
        """The store refuses it."""
        if self._journal is not None and job.journal is not None and isinstance(job.operation, Settle):
            logger.error("a settlement in %s cannot be made: kept aside", job.journal.path)
            self._spawn(self._journal.put_aside(job.journal, job.operation.request_id))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_logged(work), name="settlement journal")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        # What is on disk stays there; nothing that waits depends on this.
        logger.exception("the settlement journal failed")
