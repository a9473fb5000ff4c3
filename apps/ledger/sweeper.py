"""What nobody comes back for: the holds of a process that is gone expire, leaving tombstones that a late settlement
finds; grants whose time is over are taken off accounts that nobody uses."""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import Now

from apps.core.ids import new_id
from apps.ledger.models import Balance, Grant, Hold, ProcessLease
from apps.ledger.operations import Expire, Release, Released
from apps.ledger.store import orm
from apps.ledger.store.protocol import LEASE_LIFE_S

logger = logging.getLogger(__name__)

BATCH: Final = 200
TOMBSTONE_LIFE: Final = timedelta(days=7)
LEASE_LIFE: Final = timedelta(seconds=LEASE_LIFE_S)
WATCH: Final = uuid.UUID(int=0)
"""The sweepers' own lease, one for all of them: since when the database has been within reach without a gap."""


def sweep() -> int:
    """Expire what processes that are gone left behind; return how many holds.

    Nothing expires before sweeps have reached the database for one whole lease period: after an outage every lease is
    over, and the processes that live need a moment to say so. So this is to be called more often than leases last.
    """
    return expire_abandoned() if _has_watched_long_enough() else 0


def expire_abandoned() -> int:
    """Expire the open holds of processes whose lease is over by the database's clock, now; return how many.

    Running it twice, late, or in two places at once expires each hold once: the account's lock and the hold's state
    decide.
    """
    alive = ProcessLease.objects.filter(expires_at__gte=Now()).values("process_id")
    # Holds and leases in one statement, one snapshot: a process takes its lease before its first hold.
    expired = _expire(Hold.objects.filter(state=Hold.State.OPEN).exclude(process_id__in=alive))
    ProcessLease.objects.filter(expires_at__lt=Now()).delete()
    Hold.objects.filter(state=Hold.State.EXPIRED, expired_at__lt=Now() - TOMBSTONE_LIFE).delete()
    if expired:
        logger.warning("expired %d holds of processes that are gone", expired)
    return expired


def sweep_grants() -> int:
    """End the grants that expired in accounts where nothing else happens; return how many accounts that were.

    Nothing needs it: whatever is asked of an account ends them first. What open holds cover stays until they end.
    """
    covered = Balance.objects.filter(account_id=OuterRef("account_id"), held_micro=F("balance_micro"))
    over = Grant.objects.filter(~Exists(covered), remaining_micro__gt=0, expires_at__lte=orm.store_now())
    accounts = list(over.order_by("account_id").values_list("account_id", flat=True).distinct())
    for start in range(0, len(accounts), BATCH):
        # Any operation ends them: this one gives back a hold that never was.
        orm.commit([Release(new_id(), account_id, None) for account_id in accounts[start : start + BATCH]])
    return len(accounts)


def sweep_all_but(process_id: uuid.UUID) -> int:
    """Expire every other process's holds at once: for the one process that holds the embedded database's lock."""
    ProcessLease.objects.exclude(process_id__in=(process_id, WATCH)).delete()
    return _expire(Hold.objects.filter(state=Hold.State.OPEN).exclude(process_id=process_id))


def _has_watched_long_enough() -> bool:
    """Renew the watch, or begin it anew where it was interrupted, or the clock went back; tell whether it is a lease's
    life old."""
    expires_at = Now() + LEASE_LIFE
    with transaction.atomic():
        # Where the clock went back, leases end far in its future: the living renew them, the dead must not have more.
        ProcessLease.objects.filter(expires_at__gt=expires_at).update(expires_at=expires_at)
        watch = ProcessLease.objects.filter(process_id=WATCH)
        if not watch.filter(started_at__lte=Now(), expires_at__gte=Now()).update(expires_at=expires_at):
            facts = {"name": "sweeper", "started_at": Now(), "expires_at": expires_at}
            ProcessLease.objects.update_or_create(process_id=WATCH, defaults=facts)
        return watch.filter(started_at__lte=Now() - LEASE_LIFE).exists()


def _expire(holds: QuerySet[Hold]) -> int:
    expired = 0
    while True:
        rows = list(holds.order_by("account_id")[:BATCH])
        if not rows:
            return expired
        outcomes = orm.commit([Expire(row.request_id, row.account_id, orm.held_windows(row.windows)) for row in rows])
        expired += sum(isinstance(outcome, Released) and outcome.was_open for outcome in outcomes)
