"""Money moved by people: top-ups, grants, refunds, claw-backs, corrections. One transaction each, under the account's
lock, and once per reference: whoever asks again with the same one is told what came of it the first time."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models.functions import Now

from apps.accounts.mistakes import Mistake
from apps.accounts.models import Account
from apps.accounts.services import renew_snapshot, set_account
from apps.core import clock
from apps.core.errors import rfc3339
from apps.core.ids import new_id, show_request_id
from apps.core.money import NOTHING, Credits
from apps.ledger import books
from apps.ledger.idempotency import KEPT_S
from apps.ledger.models import Balance, Entry, Grant, IdempotencyKey
from apps.ledger.operations import Move, Moved, MoveRefused
from apps.ledger.selectors import refundable
from apps.ledger.store import orm

MAX_REFERENCE_LENGTH: Final = 200
MAX_REASON_LENGTH: Final = 300
MAX_OPEN_GRANTS: Final = 100
"""Each batch reads the account's open grants: so many and no more."""
MAX_PRIORITY: Final = 100
FORGET_BATCH: Final = 500


class BadMovement(Mistake):
    """The movement cannot be made. The message is one line for whoever asked."""


class ReferenceReused(BadMovement):
    """The reference was used before, for something else."""


@dataclass(frozen=True, slots=True)
class Movement:
    """What became of a movement. `repeated`: it had been made before, and nothing moved now."""

    entry_id: uuid.UUID
    balance_before: Credits
    balance_after: Credits
    repeated: bool
    amount: Credits = NOTHING
    """What moved; of a claw-back, what could be taken."""
    owed: Credits = NOTHING
    """Of a claw-back: what could not, and froze the account."""


def open_account(*, account_id: uuid.UUID) -> None:
    """Give an account its balance of zero. Doing it twice changes nothing."""
    Balance.objects.get_or_create(account_id=account_id)


def top_up(*, account_id: uuid.UUID, amount: Credits, reference: str, actor: str) -> Movement:
    """Add paid credits, once per `reference` within the account. They pay what the account owes first.

    Raises: BadMovement for an amount that is not positive; ReferenceReused.
    """
    _check_positive(amount)
    return _book(_move(books.TOP_UP, account_id, amount, books.CASH, reference=reference, actor=actor), "a top-up")


def grant(
    *,
    account_id: uuid.UUID,
    amount: Credits,
    reference: str,
    actor: str,
    expires_at: datetime | None = None,
    priority: int = 0,
) -> Movement:
    """Give credits that nobody paid for: used before paid ones, of no use from `expires_at` on.

    Raises: as `top_up`; BadMovement also where it had expired already, or the account has too many grants.
    """
    _check_positive(amount)
    if not 0 <= priority <= MAX_PRIORITY:
        raise BadMovement(f"the priority must be from 0 to {MAX_PRIORITY}")
    asked = _move(books.GRANT, account_id, amount, books.PROMOTION, reference=reference, actor=actor)
    asked.priority, asked.expires_at = priority, expires_at
    return _book(asked, "a grant")


def refund(
    *,
    account_id: uuid.UUID,
    request_id: uuid.UUID,
    reference: str,
    actor: str,
    amount: Credits | None = None,
    reason: str = "",
) -> Movement:
    """Give credits back for a call: at most what it was charged less what came back before; None for all of that.

    Raises: as `top_up`; BadMovement also where that is less than `amount`, or nothing.
    """
    _check_reason(reason, "a refund", is_needed=False)
    if amount is not None:
        _check_positive(amount)
    with transaction.atomic():
        lock_account(account_id)
        if amount is None:
            known = _find(account_id, reference, books.REFUND)
            amount = Credits(known[0].amount_micro) if known else refundable(account_id, request_id)
            if not amount:
                raise BadMovement(f"nothing is left of a charge for {show_request_id(request_id)}")
        asked = _move(books.REFUND, account_id, amount, books.REVENUE, reference=reference, reason=reason, actor=actor)
        asked.subject_id = request_id
        return _book(asked, "a refund")


def claw_back(*, account_id: uuid.UUID, amount: Credits, reference: str, actor: str, reason: str = "") -> Movement:
    """Take back the credits of a payment that was reversed: what is available now; the rest is owed, and freezes the
    account until an operator unfreezes it.

    Raises: as `top_up`.
    """
    _check_positive(amount)
    _check_reason(reason, "a claw-back", is_needed=False)
    asked = _move(books.CLAW_BACK, account_id, -amount, books.CASH, reference=reference, reason=reason, actor=actor)
    with transaction.atomic():
        movement = _book(asked, "a claw-back")
        if movement.owed and not movement.repeated:
            set_account(account_id=account_id, actor=actor, status=Account.Status.FROZEN)
    return movement


def correct(*, account_id: uuid.UUID, amount: Credits, reason: str, reference: str, actor: str) -> Movement:
    """Repair a mistake with an entry of its own; a negative amount takes from the customer.

    Raises: BadMovement without a reason or with too long a one, for zero, or where it takes more than is available;
    ReferenceReused.
    """
    _check_reason(reason, "a correction", is_needed=True)
    if not amount:
        raise BadMovement("the amount must not be zero")
    asked = _move(
        books.CORRECTION, account_id, amount, books.ADJUSTMENT, reference=reference, reason=reason, actor=actor
    )
    return _book(asked, "a correction")


def _move(
    kind: str, account_id: uuid.UUID, amount: Credits, house: str, *, reference: str, actor: str, reason: str = ""
) -> Move:
    """A movement between the house's account and the customer; a negative amount takes from the customer."""
    debit, credit = (house, books.CUSTOMER) if amount.micro > 0 else (books.CUSTOMER, house)
    return Move(
        operation_id=new_id(),
        account_id=account_id,
        kind=kind,
        debit=debit,
        credit=credit,
        amount_micro=abs(amount.micro),
        reference=reference,
        reason=reason,
        actor=actor,
    )


def _book(asked: Move, what: str) -> Movement:
    if not asked.reference or len(asked.reference) > MAX_REFERENCE_LENGTH:
        raise BadMovement(f"{what} needs a reference of 1 to {MAX_REFERENCE_LENGTH} characters")
    with transaction.atomic():
        # The account's row first, as every writer of its money does: then no other can use the same reference.
        lock_account(asked.account_id)
        known = _find(asked.account_id, asked.reference, asked.kind)
        if known:
            return _repeat(known, asked)
        if asked.kind == books.GRANT:
            _check_grant(asked)
        (outcome,) = orm.commit([asked])
        renew_snapshot(asked.account_id)  # whoever was refused for want of credits may call again
    if isinstance(outcome, MoveRefused):
        raise BadMovement(str(outcome))
    assert isinstance(outcome, Moved)
    return Movement(
        outcome.entry_id,
        Credits(outcome.balance_before_micro),
        Credits(outcome.balance_after_micro),
        repeated=False,
        amount=Credits(outcome.amount_micro),
        owed=Credits(outcome.owed_micro),
    )


def lock_account(account_id: uuid.UUID) -> None:
    """Take the account's money for this transaction. Raises: BadMovement, where there is none."""
    if not Balance.objects.select_for_update(no_key=True).filter(account_id=account_id).first():
        raise BadMovement(f"there is no account {account_id}")


def _find(account_id: uuid.UUID, reference: str, kind: str) -> Sequence[Entry]:
    """What was booked under a reference before, in order: the movement itself, and what else its operation added."""
    kinds = (kind, books.OWED) if kind == books.CLAW_BACK else (kind,)
    first = Entry.objects.filter(account_id=account_id, reference=reference, kind__in=kinds).order_by("seq").first()
    if first is None:
        return ()
    return list(Entry.objects.filter(account_id=account_id, operation_id=first.operation_id).order_by("seq"))


def _repeat(known: Sequence[Entry], asked: Move) -> Movement:
    first = known[0]
    moved = sum(entry.amount_micro for entry in known if entry.kind == asked.kind)
    owed = sum(entry.amount_micro for entry in known if entry.kind == books.OWED)
    was, wanted = _shown(asked.kind, first.credit, moved + owed), _shown(asked.kind, asked.credit, asked.amount_micro)
    if was != wanted:
        _reused(asked, f"{was} credits, not {wanted}")
    if first.subject_id != asked.subject_id:
        _reused(asked, "another request")
    if asked.kind == books.GRANT:
        terms = Grant.objects.filter(id=first.operation_id).values_list("expires_at", "priority").first()
        if terms is not None and terms != (asked.expires_at, asked.priority):
            until = "without an expiry" if terms[0] is None else f"until {rfc3339(terms[0])}"
            _reused(asked, f"a grant {until} with priority {terms[1]}")
    return Movement(
        first.id,
        Credits(first.balance_before_micro),
        Credits(known[-1].balance_after_micro),
        repeated=True,
        amount=Credits(moved),
        owed=Credits(owed),
    )


def _shown(kind: str, credit: str, amount_micro: int) -> Credits:
    """An amount as it was asked for: corrections go both ways, the others one."""
    return Credits(-amount_micro if kind == books.CORRECTION and credit != books.CUSTOMER else amount_micro)


def _reused(asked: Move, what: str) -> None:
    raise ReferenceReused(f"reference {asked.reference!r} was used for {what}")


def _check_grant(asked: Move) -> None:
    now = clock.now()
    if asked.expires_at is not None and asked.expires_at <= now:
        raise BadMovement("the grant would have expired already")
    if Grant.objects.filter(account_id=asked.account_id, remaining_micro__gt=0).count() >= MAX_OPEN_GRANTS:
        raise BadMovement(f"the account has {MAX_OPEN_GRANTS} grants that are not used up: no more fit")


def _check_positive(amount: Credits) -> None:
    if not amount:
        raise BadMovement("the amount must not be zero")
    if amount.micro < 0:
        raise BadMovement("the amount must be more than zero")


def _check_reason(reason: str, what: str, *, is_needed: bool) -> None:
    if (is_needed and not reason.strip()) or len(reason) > MAX_REASON_LENGTH:
        least = 1 if is_needed else 0
        raise BadMovement(f"{what} needs a reason of {least} to {MAX_REASON_LENGTH} characters")


def forget_idempotency_keys() -> int:
    """Remove the keys that are nobody's any more; return how many. Those that a call claims just now are left to it."""
    forgotten = 0
    while True:
        with transaction.atomic():
            old = IdempotencyKey.objects.filter(claimed_at__lt=Now() - timedelta(seconds=KEPT_S))
            ids = list(old.select_for_update(skip_locked=True).values_list("id", flat=True)[:FORGET_BATCH])
            IdempotencyKey.objects.filter(id__in=ids).delete()
        forgotten += len(ids)
        if len(ids) < FORGET_BATCH:
            return forgotten
