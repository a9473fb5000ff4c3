"""What a process knows of callers of CLI-only models: a known one costs no database round trip."""

from __future__ import annotations

import uuid
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from apps.accounts.cache import AccountSnapshot
from apps.catalog.cache import ModelSnapshot
from apps.core.clock import monotonic
from apps.keys.cli.verdict import Finding
from apps.keys.rules import KeySnapshot

T = TypeVar("T")

SEEN_S: Final = 3_600.0
"""A known device and session is written down again after this: by so much may "within 24 hours" be late."""
UNLIKE_S: Final = 60.0
"""What contradicts an earlier sighting is looked at again after this."""
REPEAT_S: Final = 600.0
"""A violation without a consequence is written down again after this: a client that loops writes nothing more."""
MAX_KNOWN: Final = 50_000


class Remembered(Generic[T]):
    """Facts for a while, the oldest forgotten first. Kept by hash, salted anew in each process: ids are nowhere."""

    __slots__ = ("_facts",)

    def __init__(self) -> None:
        self._facts: dict[int, tuple[float, T]] = {}

    def get(self, about: Hashable) -> tuple[T] | None:
        """The fact, alone in a tuple, since a fact may be None; None where nothing is known any more."""
        known = hash(about)
        found = self._facts.get(known)
        if found is None:
            return None
        if monotonic() >= found[0]:
            del self._facts[known]
            return None
        return (found[1],)

    def keep(self, about: Hashable, fact: T, *, seconds: float) -> None:
        known = hash(about)
        if known not in self._facts and len(self._facts) >= MAX_KNOWN:
            del self._facts[next(iter(self._facts))]
        self._facts[known] = (monotonic() + seconds, fact)


@dataclass(frozen=True, slots=True)
class Written:
    """A violation that only blocked, or only was recorded, and the snapshots under which that was so."""

    key: KeySnapshot
    account: AccountSnapshot | None
    model: ModelSnapshot
    violation_id: uuid.UUID | None

    def is_of(self, key: KeySnapshot, account: AccountSnapshot | None, model: ModelSnapshot) -> bool:
        return self.key is key and self.account is account and self.model is model


class Vetted:
    """Of one process."""

    __slots__ = ("sightings", "violations")

    def __init__(self) -> None:
        self.sightings: Remembered[Finding | None] = Remembered()
        """By key, device and session: what speaks against them, None where nothing does."""
        self.violations: Remembered[Written] = Remembered()
        """By key, model and the signs that failed."""
