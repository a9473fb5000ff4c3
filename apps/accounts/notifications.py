"""What the people of an account and its operator should hear of. Kept once per subject; sending is somebody else's."""

from __future__ import annotations

import uuid

from apps.accounts.models import Notification

SUBJECT_LENGTH = 250
MESSAGE_LENGTH = 300


def notify(*, account_id: uuid.UUID, kind: str, subject: str, message: str) -> bool:
    """Keep a notification, unless there is one of this kind and subject; say whether it is new.

    Safe from two processes at once: the unique constraint decides.
    """
    _, is_new = Notification.objects.get_or_create(
        account_id=account_id,
        kind=kind,
        subject=subject[:SUBJECT_LENGTH],
        defaults={"message": message[:MESSAGE_LENGTH]},
    )
    return is_new
