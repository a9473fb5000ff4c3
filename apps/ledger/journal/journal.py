"""The journal of one process: its own file and those that it adopted, off the event loop."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from apps.ledger.journal.file import SUFFIX, JournalFailed, JournalFile
from apps.ledger.operations import Settle

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Journal:
    """A process's own file, and those that it adopted. Files are touched in one thread, never on the event loop."""

    def __init__(self, directory: Path, process_id: uuid.UUID) -> None:
        self._directory = directory
        self._process_id = process_id
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._own: JournalFile | None = None
        self._adopted: set[JournalFile] = set()

    @property
    def pending(self) -> int:
        """Settlements on disk that the store does not have yet."""
        files = self._adopted if self._own is None else {self._own, *self._adopted}
        return sum(len(file.pending) for file in files)

    async def open(self) -> None:
        """Raises: JournalFailed."""
        try:
            self._own = await self._in_thread(partial(JournalFile.create, self._directory, self._process_id))
        except OSError as error:
            raise JournalFailed(f"the settlement journal cannot be written in {self._directory}: {error}") from error

    async def append(self, settlements: Sequence[Settle]) -> JournalFile:
        """Write them down; durable when this returns. Raises: JournalFailed, and then none of them is."""
        own = self._own
        if own is None:
            raise JournalFailed("the journal is closed")
        await self._in_thread(partial(own.append, settlements))
        return own

    async def adopt(self) -> list[JournalFile]:
        """Take over what dead processes left: files with settlements to replay."""
        found = await self._in_thread(self._adopt)
        self._adopted.update(found)
        return found

    def _adopt(self) -> list[JournalFile]:
        found = []
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            try:
                file = JournalFile.adopt(path)
            except OSError:
                logger.exception("%s cannot be adopted", path)
                continue
            if file is not None and file.pending:
                found.append(file)
            elif file is not None:
                file.close()
        return found

    async def forget(self, file: JournalFile, request_id: uuid.UUID) -> None:
        """The settlement is made."""
        await self._in_thread(partial(file.forget, request_id))
        self._release(file)

    async def put_aside(self, file: JournalFile, request_id: uuid.UUID) -> None:
        """The store will never take the settlement."""
        await self._in_thread(partial(file.put_aside, request_id))
        self._release(file)

    def _release(self, file: JournalFile) -> None:
        if not file.pending:
            self._adopted.discard(file)

    async def close(self) -> None:
        """Leave what is pending to whoever adopts it."""
        own, self._own = self._own, None
        for file in [*self._adopted, *([own] if own is not None else [])]:
            await self._in_thread(file.close)
        self._adopted.clear()
        self._thread.shutdown()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
