"""What an operator should see to: kept once while it is open, its repeats counted. Sending it on is somebody else's.

alert(kind="upstream_refuses_us", subject="route 0197…", message="openai answers 401: check the credential.")
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Final

from django.db import IntegrityError, transaction
from django.db.models import F

from apps.accounts import audit
from apps.accounts.mistakes import Mistake
from apps.accounts.models import OperatorAlert
from apps.core import clock

KIND_LENGTH: Final = 40
SUBJECT_LENGTH: Final = 200
MESSAGE_LENGTH: Final = 500
MAX_LISTED: Final = 1_000


def alert(*, kind: str, subject: str, message: str, times: int = 1) -> bool:
    """Keep an alert; say whether it is new. One that is open already counts `times` more and tells the latest words.

    Safe from any number of processes: the unique constraint decides who opens it. The message is for operators alone,
    and may name what callers must not see; never put a credential into it.
    """
    kind, subject, message = kind[:KIND_LENGTH], subject[:SUBJECT_LENGTH], message[:MESSAGE_LENGTH]
    now = clock.now()
    if _repeat(kind, subject, message, times=times, now=now):
        return False
    try:
        with transaction.atomic():
            OperatorAlert.objects.create(
                kind=kind, subject=subject, message=message, times=times, first_seen_at=now, last_seen_at=now
            )
    except IntegrityError:
        # Somebody opened it in between.
        _repeat(kind, subject, message, times=times, now=now)
        return False
    return True


def _repeat(kind: str, subject: str, message: str, *, times: int, now: datetime) -> bool:
    """Count an open alert once more; False where there is none."""
    opened = OperatorAlert.objects.filter(kind=kind, subject=subject, resolved_at=None)
    return bool(opened.update(times=F("times") + times, last_seen_at=now, message=message))


@transaction.atomic
def resolve(*, alert_id: uuid.UUID, actor: str) -> OperatorAlert:
    """Close an alert; nothing changes where it is closed already.

    Raises: Mistake.
    """
    found = OperatorAlert.objects.select_for_update().filter(id=alert_id).first()
    if found is None:
        raise Mistake(f"no alert with the id '{alert_id}'")
    if found.resolved_at is None:
        found.resolved_at, found.resolved_by = clock.now(), actor
        found.save()
        audit.record(actor=actor, action="alert.resolved", target=found, detail={"times": found.times})
    return found


def open_alerts() -> list[OperatorAlert]:
    """What is open, the latest first, as far as anybody reads."""
    return list(OperatorAlert.objects.filter(resolved_at=None)[:MAX_LISTED])
