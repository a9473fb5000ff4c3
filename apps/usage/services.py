"""The one change that a record meets after it was written."""

from __future__ import annotations

import uuid

from apps.usage.models import UsageRecord
from apps.usage.record import DUE


def conclude_claim(*, account_id: uuid.UUID, request_id: uuid.UUID, claim: str, compensated_micro: int) -> None:
    """Write down what became of a payout that was due, in the transaction that made it. Twice changes nothing."""
    UsageRecord.objects.filter(account_id=account_id, request_id=request_id, claim=DUE).update(
        claim=claim, compensated_micro=compensated_micro
    )
