"""Refusals in the usage log: enough to explain them, few enough to cost nothing."""

from __future__ import annotations

import uuid
from collections import deque
from typing import Final

from apps.ledger.committer import Committer
from apps.ledger.operations import Release
from apps.usage.record import Record

REFUSALS_KEPT: Final = 10
REFUSAL_WINDOW_S: Final = 10.0
MAX_KEYS_WATCHED: Final = 10_000


class RefusalLog:
    """Writes a key's refusals down, but at most ten in ten seconds: a client that loops costs no database write.

    The rest are counted in `dropped`.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._recent: dict[uuid.UUID, deque[float]] = {}

    def has_enough(self, key_id: uuid.UUID, *, now_s: float) -> bool:
        """Whether no more of this key's are written down now; then this one is counted."""
        recent = self._recent.get(key_id)
        if recent is None or len(recent) < REFUSALS_KEPT or now_s - recent[0] >= REFUSAL_WINDOW_S:
            return False
        self.dropped += 1
        return True

    def add(self, record: Record, *, now_s: float, ledger: Committer) -> None:
        """Write one down. Ask `has_enough` first."""
        recent = self._recent.get(record.key_id)
        if recent is None:
            if len(self._recent) >= MAX_KEYS_WATCHED:
                self._recent.pop(next(iter(self._recent)))
            recent = self._recent[record.key_id] = deque(maxlen=REFUSALS_KEPT)
        recent.append(now_s)
        ledger.record(Release(record.request_id, record.account_id, record))
