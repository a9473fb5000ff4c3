"""Payouts of streams: found through the usage records that say what is due, each made once."""

from __future__ import annotations

import logging
import uuid
from typing import Final

from django.db import DatabaseError, connection, transaction

from apps.ledger.books import COMPENSATION, CUSTOMER, INSURANCE
from apps.ledger.operations import BadOperation, Move, Moved, NotOwed, Outcome
from apps.ledger.services import BadMovement, lock_account
from apps.ledger.store import orm
from apps.usage.models import UsageRecord
from apps.usage.record import CAPPED, DUE, PAID, VOID
from apps.usage.services import conclude_claim

logger = logging.getLogger(__name__)

BATCH: Final = 50
"""Claims of one account that are paid in one transaction: calls wait for its lock, a tenth of a second at most."""
ACCOUNTS: Final = 500
LOCK_PATIENCE: Final = "2s"
"""How long an account's lock is waited for: others must be paid too, and it is asked for again in seconds."""


def pay_due() -> int:
    """Pay all that insurance owes for streams; return how many accounts could not be paid now.

    May be called at any time, as often as anyone likes, in several places at once: a claim is looked up again under its
    account's lock, and its entry is unique. An account that cannot be had now keeps no other waiting.
    """
    passed_over: set[uuid.UUID] = set()
    due = UsageRecord.objects.filter(claim=DUE).order_by("account_id").values_list("account_id", flat=True).distinct()
    while accounts := list(due.exclude(account_id__in=passed_over)[:ACCOUNTS]):
        for account_id in accounts:
            try:
                _pay_account(account_id)
            except (DatabaseError, BadOperation, BadMovement):
                logger.exception("account %s: what insurance owes it cannot be paid now", account_id)
                passed_over.add(account_id)
    return len(passed_over)


def _pay_account(account_id: uuid.UUID) -> None:
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_PATIENCE}'")
        lock_account(account_id)
        # Read under the lock: whoever had it before may have paid these.
        due = UsageRecord.objects.filter(account_id=account_id, claim=DUE).order_by("request_id")
        records = list(due.only("account_id", "request_id", "due_micro", "claim_trigger")[:BATCH])
        outcomes = orm.commit([_payout(record) for record in records])
        for record, outcome in zip(records, outcomes, strict=True):
            claim, compensated_micro = _conclusion(record, outcome)
            conclude_claim(
                account_id=account_id,
                request_id=record.request_id,
                claim=claim,
                compensated_micro=compensated_micro,
            )


def _payout(record: UsageRecord) -> Move:
    return Move(
        operation_id=record.request_id,
        account_id=record.account_id,
        kind=COMPENSATION,
        debit=INSURANCE,
        credit=CUSTOMER,
        amount_micro=record.due_micro,
        reason=record.claim_trigger,
    )


def _conclusion(record: UsageRecord, outcome: Outcome) -> tuple[str, int]:
    """What the record says from now on of the claim, and what was paid."""
    if isinstance(outcome, Moved):
        return PAID if outcome.amount_micro == record.due_micro else CAPPED, outcome.amount_micro
    if isinstance(outcome, NotOwed):
        logger.error("req_%s: insurance owes nothing for it: %s", record.request_id.hex, outcome)
        return VOID, 0
    return CAPPED, 0
