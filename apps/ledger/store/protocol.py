"""Where money is kept: one protocol, one contract suite, one file per backend."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from apps.ledger.operations import Busy, Operation, Outcome

SQL_DIR: Final = Path(__file__).parent / "sql"
LEASE_LIFE_S: Final = 30
LEASE_RENEWAL_S: Final = 5


class StoreUnavailable(Exception):
    """The store could not be reached. Whether the batch committed is unknown: repeat it with `is_repeat`."""


class LedgerStore(Protocol):
    """One connection of its own; used by one committer, one batch at a time."""

    async def open(self) -> None:
        """Connect. Raises: StoreUnavailable."""

    async def commit(self, operations: Sequence[Operation], *, is_repeat: bool = False) -> Sequence[Outcome | Busy]:
        """Decide and write a batch in one transaction, durably; one outcome per operation, in order. Of an account that
        somebody else keeps locked nothing is decided: its operations are Busy, each of them.

        With `is_repeat`, operations that already committed give their first outcome again. Raises: StoreUnavailable,
        BadOperation; then nothing of the batch was written, or (StoreUnavailable) all of it may have been.
        """

    def beside(self) -> LedgerStore | None:
        """Another store of the same database, not open yet, to wait with for accounts that are Busy; None where no
        account ever is."""

    async def renew_lease(self, process_id: uuid.UUID, *, name: str) -> int:
        """Say that this process lives for another 30 s by the store's clock; return how many do, this one included.

        Raises: StoreUnavailable.
        """

    async def end_lease(self, process_id: uuid.UUID) -> None:
        """Say that this process ended in order. Raises: StoreUnavailable."""

    async def close(self) -> None: ...


def read_sql(name: str, *, directory: Path = SQL_DIR) -> str:
    """A statement's text without its header."""
    lines = (directory / name).read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("--"))
