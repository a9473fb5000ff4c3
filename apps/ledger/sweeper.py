"""What happens to the holds of a process that is gone: they expire, leaving tombstones that a late settlement finds."""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta
from typing import Final

from django.db.models import QuerySet
from django.db.models.functions import Now

from apps.ledger.models import Hold, ProcessLease
from apps.ledger.operations import Expire, Released
from apps.ledger.store import orm

logger = logging.getLogger(__name__)

BATCH: Final = 200
TOMBSTONE_LIFE: Final = timedelta(days=7)


def sweep() -> int:
    """Expire the open holds of processes whose lease is over by the database's clock; return how many.

    Running it twice, late, or in two places at once expires each hold once: the account's lock and the hold's state
    decide.
    """
    alive = set(ProcessLease.objects.filter(expires_at__gte=Now()).values_list("process_id", flat=True))
    expired = _expire(Hold.objects.filter(state=Hold.State.OPEN).exclude(process_id__in=alive))
    ProcessLease.objects.filter(expires_at__lt=Now()).delete()
    Hold.objects.filter(state=Hold.State.EXPIRED, expired_at__lt=Now() - TOMBSTONE_LIFE).delete()
    if expired:
        logger.warning("expired %d holds of processes that are gone", expired)
    return expired


def sweep_all_but(process_id: uuid.UUID) -> int:
    """Expire every other process's holds at once: for the one process that holds the embedded database's lock."""
    ProcessLease.objects.exclude(process_id=process_id).delete()
    return _expire(Hold.objects.filter(state=Hold.State.OPEN).exclude(process_id=process_id))


def _expire(holds: QuerySet[Hold]) -> int:
    expired = 0
    while True:
        rows = list(holds.order_by("account_id")[:BATCH])
        if not rows:
            return expired
        outcomes = orm.commit(
            [Expire(row.request_id, row.account_id, orm.held_windows(row.windows)) for row in rows]
        )
        expired += sum(isinstance(outcome, Released) and outcome.was_open for outcome in outcomes)
