"""Movements that no hold announced: top-ups, grants, refunds, claw-backs, corrections. Pure."""

from __future__ import annotations

import uuid
from typing import Final

from apps.core.money import MAX_MICRO, Credits
from apps.ledger import grants
from apps.ledger.books import (
    CASH,
    CHARGE,
    CLAW_BACK,
    COMPENSATION,
    CORRECTION,
    CUSTOMER,
    GRANT,
    OWED,
    RECEIVABLE,
    REFUND,
    REPAYMENT,
    REVENUE,
    TOP_UP,
    balance_of,
    enter,
)
from apps.ledger.operations import (
    EntryState,
    GrantState,
    Move,
    Moved,
    MoveRefused,
    RefundState,
    Release,
    State,
    Writes,
)

REPAYING: Final = frozenset({TOP_UP, REFUND, CORRECTION})
"""Kinds whose paid credits go to what the account owes, before it may spend them."""


def move(state: State, writes: Writes, asked: Move) -> Moved | MoveRefused:
    """Add what one movement adds. What takes from the customer may take no more than is free."""
    done = moved_before(state, asked)
    if done is not None:
        return done
    if asked.kind == CLAW_BACK:
        return _claw_back(state, writes, asked)
    refused = _refuse(state, asked)
    if refused is not None:
        return refused
    before = balance_of(state, asked.account_id).balance_micro
    if asked.debit == CUSTOMER:
        granted_micro = grants.spend(state, writes, asked.account_id, asked.amount_micro, paid_first=True)
        entry_id = _enter(state, writes, asked, asked.amount_micro, granted_micro=granted_micro)
    else:
        entry_id = _give(state, writes, asked, _granted_part(state, asked))
    after = balance_of(state, asked.account_id).balance_micro
    return Moved(entry_id, before, after, amount_micro=asked.amount_micro)


def _give(state: State, writes: Writes, asked: Move, granted_micro: int) -> uuid.UUID:
    """Bring credits into the account: so many of them as a grant, the others to pay what it owes first."""
    entry_id = _enter(state, writes, asked, asked.amount_micro, granted_micro=granted_micro)
    if granted_micro:
        _open_grant(state, writes, asked, granted_micro)
    if asked.kind in REPAYING:
        _repay(state, writes, asked, asked.amount_micro - granted_micro)
    return entry_id


def annul(state: State, writes: Writes, asked: Release) -> None:
    """Give back what a failed call was charged all the same, less what insurance paid for it. Its budgets keep the
    charge, and so does its record."""
    charge = state.entries.get((asked.request_id, CHARGE))
    if charge is None or (asked.request_id, CORRECTION) in state.entries:
        return
    refunded = state.refunds.get(asked.request_id, RefundState())
    compensated = state.entries.get((asked.request_id, COMPENSATION))
    back_micro = charge.amount_micro - refunded.amount_micro - (compensated.amount_micro if compensated else 0)
    if back_micro <= 0:
        return
    giving = Move(
        operation_id=asked.request_id,
        account_id=asked.account_id,
        kind=CORRECTION,
        debit=REVENUE,
        credit=CUSTOMER,
        amount_micro=back_micro,
        reason="the call ended as failed before its charge was known to be made",
    )
    _give(state, writes, giving, min(back_micro, charge.granted_micro - refunded.granted_micro))


def moved_before(state: State, asked: Move) -> Moved | None:
    """The first outcome of a movement that is told again."""
    entry = state.entries.get((asked.operation_id, asked.kind))
    owed = state.entries.get((asked.operation_id, OWED))
    first = entry or owed
    if first is None:
        return None
    last = state.entries.get((asked.operation_id, REPAYMENT), first)
    return Moved(
        first.id,
        first.balance_before_micro,
        last.balance_after_micro,
        is_repeated=True,
        amount_micro=0 if entry is None else entry.amount_micro,
        owed_micro=0 if owed is None else owed.amount_micro,
    )


def _refuse(state: State, asked: Move) -> MoveRefused | None:
    amount = Credits(asked.amount_micro)
    if asked.debit == CUSTOMER:
        free = Credits(grants.free(state, asked.account_id))
        if amount > free:
            return MoveRefused(f"{amount} credits are more than the {free} that are available")
    elif balance_of(state, asked.account_id).balance_micro + asked.amount_micro > MAX_MICRO:
        return MoveRefused(f"the balance would exceed {Credits(MAX_MICRO)} credits")
    if asked.kind == REFUND:
        charge = _charge_of(state, asked)
        if charge is None:
            return MoveRefused("the request was not charged")
        left = Credits(charge.amount_micro - _given_back(state, asked).amount_micro)
        if amount > left:
            return MoveRefused(f"{amount} credits are more than the {left} that are left of the request's charge")
    return None


def _granted_part(state: State, asked: Move) -> int:
    """How much of what comes in is credits that nobody paid for."""
    if asked.kind == GRANT:
        return asked.amount_micro
    if asked.kind != REFUND:
        return 0
    # Paid credits come back first; the rest comes back as what it was.
    charge, back = _charge_of(state, asked), _given_back(state, asked)
    assert charge is not None
    assert asked.subject_id is not None
    paid_left = charge.amount_micro - charge.granted_micro - (back.amount_micro - back.granted_micro)
    granted_micro = max(0, asked.amount_micro - paid_left)
    refunded = state.refunds.setdefault(asked.subject_id, RefundState())
    refunded.amount_micro += asked.amount_micro
    refunded.granted_micro += granted_micro
    return granted_micro


def _charge_of(state: State, asked: Move) -> EntryState | None:
    return None if asked.subject_id is None else state.entries.get((asked.subject_id, CHARGE))


def _given_back(state: State, asked: Move) -> RefundState:
    """What of the charge came back before: by refunds, or because the call turned out to have failed."""
    assert asked.subject_id is not None
    refunded = state.refunds.get(asked.subject_id, RefundState())
    annulled = state.entries.get((asked.subject_id, CORRECTION))
    if annulled is None:
        return refunded
    return RefundState(refunded.amount_micro + annulled.amount_micro, refunded.granted_micro + annulled.granted_micro)


def _open_grant(state: State, writes: Writes, asked: Move, amount_micro: int) -> None:
    grant = GrantState(
        id=asked.operation_id,
        account_id=asked.account_id,
        amount_micro=amount_micro,
        remaining_micro=amount_micro,
        priority=asked.priority,
        expires_at=asked.expires_at,
        created_at=state.now,
    )
    grants.open_grant(state, writes, grant)


def _repay(state: State, writes: Writes, asked: Move, paid_micro: int) -> None:
    """Pay what the account owes out of the paid credits that it just got."""
    balance = balance_of(state, asked.account_id)
    amount_micro = min(balance.owed_micro, paid_micro)
    if amount_micro:
        balance.owed_micro -= amount_micro
        _enter(state, writes, asked, amount_micro, kind=REPAYMENT, debit=CUSTOMER, credit=RECEIVABLE)


def _claw_back(state: State, writes: Writes, asked: Move) -> Moved | MoveRefused:
    """Take what is free; the rest is owed: a claim of the house in an entry of its own, that moves no balance."""
    balance = balance_of(state, asked.account_id)
    before = balance.balance_micro
    taken = min(asked.amount_micro, grants.free(state, asked.account_id))
    owed = asked.amount_micro - taken
    if balance.owed_micro + owed > MAX_MICRO:
        return MoveRefused(f"the account would owe more than {Credits(MAX_MICRO)} credits")
    entry_id: uuid.UUID | None = None
    if taken:
        granted_micro = grants.spend(state, writes, asked.account_id, taken, paid_first=True)
        entry_id = _enter(state, writes, asked, taken, granted_micro=granted_micro)
    if owed:
        balance.owed_micro += owed
        owed_id = _enter(state, writes, asked, owed, kind=OWED, debit=RECEIVABLE, credit=CASH)
        entry_id = entry_id or owed_id
    assert entry_id is not None
    return Moved(entry_id, before, balance.balance_micro, amount_micro=taken, owed_micro=owed)


def _enter(
    state: State,
    writes: Writes,
    asked: Move,
    amount_micro: int,
    *,
    kind: str | None = None,
    debit: str | None = None,
    credit: str | None = None,
    granted_micro: int = 0,
) -> uuid.UUID:
    """One entry of the movement; it is of the movement's own kind and sides unless told otherwise."""
    entry = enter(
        state,
        writes,
        asked.account_id,
        asked.operation_id,
        kind or asked.kind,
        debit or asked.debit,
        credit or asked.credit,
        amount_micro,
        reference=asked.reference,
        reason=asked.reason,
        actor=asked.actor,
        granted_micro=granted_micro,
        subject_id=asked.subject_id,
    )
    return entry.id
