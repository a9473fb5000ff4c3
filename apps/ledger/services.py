"""Money moved by people: top-ups, grants, corrections. One transaction each, under the account's lock."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.db import transaction

from apps.accounts.mistakes import Mistake
from apps.core.ids import new_id
from apps.core.money import MAX_MICRO, Credits
from apps.ledger import books
from apps.ledger.models import Balance, Entry
from apps.ledger.operations import Move, Moved, MoveRefused
from apps.ledger.store import orm

MAX_REFERENCE_LENGTH = 200
MAX_REASON_LENGTH = 300


class BadMovement(Mistake):
    """The movement cannot be made. The message is one line for whoever asked."""


class ReferenceReused(BadMovement):
    """The reference was used before, for another amount."""


@dataclass(frozen=True, slots=True)
class Movement:
    """What became of a movement. `repeated`: it had been made before, and nothing moved now."""

    entry_id: uuid.UUID
    balance_before: Credits
    balance_after: Credits
    repeated: bool


def open_account(*, account_id: uuid.UUID) -> None:
    """Give an account its balance of zero. Doing it twice changes nothing."""
    Balance.objects.get_or_create(account_id=account_id)


def top_up(*, account_id: uuid.UUID, amount: Credits, reference: str, actor: str) -> Movement:
    """Add paid credits, once per `reference` within the account.

    Raises: BadMovement for an amount that is not positive; ReferenceReused.
    """
    if not reference or len(reference) > MAX_REFERENCE_LENGTH:
        raise BadMovement(f"a top-up needs a reference of 1 to {MAX_REFERENCE_LENGTH} characters")
    return _move(account_id, "top_up", amount, reference=reference, reason="", actor=actor)


def grant(*, account_id: uuid.UUID, amount: Credits, reference: str, actor: str) -> Movement:
    """Give credits that nobody paid for. Raises: as `top_up`."""
    if not reference or len(reference) > MAX_REFERENCE_LENGTH:
        raise BadMovement(f"a grant needs a reference of 1 to {MAX_REFERENCE_LENGTH} characters")
    return _move(account_id, "grant", amount, reference=reference, reason="", actor=actor)


def correct(*, account_id: uuid.UUID, amount: Credits, reason: str, actor: str) -> Movement:
    """Repair a mistake with an entry of its own; a negative amount takes from the customer.

    Raises: BadMovement without a reason or with too long a one, for zero, or where it takes more than is available.
    """
    if not reason.strip() or len(reason) > MAX_REASON_LENGTH:
        raise BadMovement(f"a correction needs a reason of 1 to {MAX_REASON_LENGTH} characters")
    return _move(account_id, "correction", amount, reference="", reason=reason, actor=actor)


_HOUSE = {"top_up": books.CASH, "grant": books.PROMOTION, "correction": books.ADJUSTMENT}


def _move(account_id: uuid.UUID, kind: str, amount: Credits, *, reference: str, reason: str, actor: str) -> Movement:
    if amount.micro == 0:
        raise BadMovement("the amount must not be zero")
    if amount.micro < 0 and kind != "correction":
        raise BadMovement("the amount must be more than zero")
    with transaction.atomic():
        # The account's row first, as every writer of its money does: then no other can use the same reference.
        balance = Balance.objects.select_for_update(no_key=True).filter(account_id=account_id).first()
        if balance is None:
            raise BadMovement(f"there is no account {account_id}")
        if reference:
            known = Entry.objects.filter(account_id=account_id, reference=reference, kind=kind).first()
            if known is not None:
                return _repeat(known, amount)
        if balance.balance_micro + amount.micro > MAX_MICRO:
            raise BadMovement(f"the balance would exceed {Credits(MAX_MICRO)} credits")
        debit, credit = (_HOUSE[kind], books.CUSTOMER) if amount.micro > 0 else (books.CUSTOMER, _HOUSE[kind])
        operation = Move(
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
        (outcome,) = orm.commit([operation])
    if isinstance(outcome, MoveRefused):
        raise BadMovement(str(outcome))
    assert isinstance(outcome, Moved)
    return Movement(
        outcome.entry_id, Credits(outcome.balance_before_micro), Credits(outcome.balance_after_micro), repeated=False
    )


def _repeat(known: Entry, amount: Credits) -> Movement:
    if known.amount_micro != amount.micro:
        raise ReferenceReused(
            f"reference {known.reference!r} was used for {Credits(known.amount_micro)} credits, not {amount}"
        )
    return Movement(known.id, Credits(known.balance_before_micro), Credits(known.balance_after_micro), repeated=True)
