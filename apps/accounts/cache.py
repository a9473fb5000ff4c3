"""Frozen snapshots for the hot path, refreshed by revision: reading one costs a dictionary look-up."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Protocol

from apps.accounts import revisions
from apps.accounts.models import Account


class SnapshotCache(Protocol):
    """A cache that follows one topic of revisions. `load` runs in a thread; it replaces what it holds in one step."""

    topic: str
    revision: int

    @property
    def is_due(self) -> bool:
        """Whether time alone changed what the cache should hold."""

    def load(self, revision: int) -> None:
        """Bring the snapshots up to `revision` or beyond."""


@dataclass(frozen=True, slots=True)
class AccountSnapshot:
    account_id: uuid.UUID
    name: str
    is_frozen: bool
    rpm_limit: int
    daily_budget_micro: int | None
    keeps_replies: bool = False


class AccountCache:
    topic = revisions.ACCOUNTS
    is_due = False

    def __init__(self) -> None:
        self.revision = -1
        self._by_id: dict[uuid.UUID, AccountSnapshot] = {}

    def get(self, account_id: uuid.UUID) -> AccountSnapshot | None:
        return self._by_id.get(account_id)

    def load(self, revision: int) -> None:
        changed = {
            account.id: AccountSnapshot(
                account_id=account.id,
                name=account.name,
                is_frozen=account.status != Account.Status.ACTIVE,
                rpm_limit=account.rpm_limit,
                daily_budget_micro=account.daily_budget_micro,
                keeps_replies=account.keep_replies,
            )
            for account in Account.objects.filter(revision__gt=self.revision)
        }
        self._by_id = {**self._by_id, **changed}
        self.revision = revision


def refresh(caches: list[SnapshotCache]) -> None:
    """Load what changed since the last call: one tiny query where nothing did."""
    latest = revisions.current()
    for cache in caches:
        revision = latest.get(cache.topic, 0)
        if revision > cache.revision or cache.is_due:
            cache.load(revision)
