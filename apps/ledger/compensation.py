"""What insurance pays back of a charge: with the charge where its caller waits for the bill, later for a stream. Pure.

It goes to the balance as any credits do: it reopens no budget, pays no debt, and is no grant. What an account gets in a
day (of the store's clock) is capped; what is beyond is not paid.
"""

from __future__ import annotations

import uuid

from apps.core.money import MAX_MICRO, payout_micro
from apps.ledger.books import CHARGE, COMPENSATION, CORRECTION, CUSTOMER, INSURANCE, balance_of, enter, window_of
from apps.ledger.moves import moved_before
from apps.ledger.operations import (
    EntryState,
    HeldWindow,
    Move,
    Moved,
    MoveRefused,
    NotOwed,
    Settle,
    State,
    Writes,
)
from apps.usage.record import CAPPED, DUE, NOT_TRIGGERED, PAID


def insure(state: State, writes: Writes, asked: Settle, charge_micro: int, *, today: HeldWindow) -> int:
    """Write down what is due of this charge, and pay it unless that is deferred; return what was paid."""
    record = asked.record
    due = record.due_micro = payout_micro(charge_micro, asked.payout_percent)
    if not due:
        record.claim, record.claim_trigger = NOT_TRIGGERED, ""
        return 0
    if asked.defers_payout:
        record.claim = DUE
        return 0
    paid = _pay(state, writes, asked.account_id, asked.request_id, due, reason=record.claim_trigger, today=today)
    record.compensated_micro = paid
    record.claim = PAID if paid == due else CAPPED
    return paid


def compensate(state: State, writes: Writes, asked: Move, *, today: HeldWindow) -> Moved | MoveRefused:
    """Pay for a call that was settled before: once, however often and however late it is told."""
    done = moved_before(state, asked)
    if done is not None:
        return done
    charge = state.entries.get((asked.operation_id, CHARGE))
    if charge is None or asked.amount_micro > charge.amount_micro:
        return NotOwed("insurance pays no more than the request was charged")
    if (asked.operation_id, CORRECTION) in state.entries:
        return NotOwed("the request was told that it failed: its charge was given back")
    before = balance_of(state, asked.account_id).balance_micro
    reason = asked.reason
    paid = _pay(state, writes, asked.account_id, asked.operation_id, asked.amount_micro, reason=reason, today=today)
    if not paid:
        return MoveRefused("insurance has paid the account as much today as it may")
    entry: EntryState = state.entries[asked.operation_id, COMPENSATION]
    return Moved(entry.id, before, entry.balance_after_micro, amount_micro=paid)


def _pay(
    state: State,
    writes: Writes,
    account_id: uuid.UUID,
    request_id: uuid.UUID,
    due_micro: int,
    *,
    reason: str,
    today: HeldWindow,
) -> int:
    room = window_of(state, account_id, today)
    # An account that is gone has no cap on file, and gets nothing.
    cap_micro = state.insurance_caps.get(account_id, 0)
    amount = min(due_micro, MAX_MICRO - balance_of(state, account_id).balance_micro)
    if cap_micro is not None:
        amount = min(amount, cap_micro - room.spent_micro)
    if amount <= 0:
        return 0
    enter(state, writes, account_id, request_id, COMPENSATION, INSURANCE, CUSTOMER, amount, reason=reason)
    room.spent_micro = min(MAX_MICRO, room.spent_micro + amount)
    writes.windows.add((account_id, today.scope, today.period, today.starts_at))
    return amount
