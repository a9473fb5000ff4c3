"""Movements that no hold announced: top-ups, grants, corrections. Pure."""

from __future__ import annotations

from apps.core.money import Credits
from apps.ledger.books import CUSTOMER, balance_of, enter
from apps.ledger.operations import Move, Moved, MoveRefused, State, Writes


def move(state: State, writes: Writes, asked: Move) -> Moved | MoveRefused:
    """Add one entry that no hold announced. What takes from the customer may take no more than is available."""
    done = state.entries.get((asked.operation_id, asked.kind))
    if done is not None:
        return Moved(
            done.id,
            done.balance_before_micro,
            done.balance_after_micro,
            is_repeated=True,
            amount_micro=done.amount_micro,
        )
    balance = balance_of(state, asked.account_id)
    available = balance.balance_micro - balance.held_micro
    if asked.debit == CUSTOMER and asked.amount_micro > available:
        return MoveRefused(
            f"{Credits(asked.amount_micro)} credits are more than the {Credits(available)} that are available"
        )
    entry = enter(
        state,
        writes,
        asked.account_id,
        asked.operation_id,
        asked.kind,
        asked.debit,
        asked.credit,
        asked.amount_micro,
        reference=asked.reference,
        reason=asked.reason,
        actor=asked.actor,
    )
    return Moved(entry.id, entry.balance_before_micro, entry.balance_after_micro, amount_micro=entry.amount_micro)
