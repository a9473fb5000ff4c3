"""Credits that nobody paid for: which are used first, and when they are gone. Pure.

An expired grant is of no use to anything that asks for credits from that instant on. Only what open holds cover beyond
all else stays until they end: those calls were admitted while it counted.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Final

from apps.core.ids import new_id
from apps.ledger.books import CUSTOMER, EXPIRY, PROMOTION, balance_of, enter
from apps.ledger.operations import GrantState, State, Writes

NEVER: Final = datetime.max.replace(tzinfo=UTC)


def open_grant(state: State, writes: Writes, grant: GrantState) -> None:
    """Put a new grant on file; the entry that gives its credits is its maker's."""
    state.grants.setdefault(grant.account_id, []).append(grant)
    writes.grants[grant.id] = grant


def spend(state: State, writes: Writes, account_id: uuid.UUID, amount_micro: int, *, paid_first: bool = False) -> int:
    """Take credits that are there out of grants as far as they go; return how much that is. What undoes a payment takes
    paid credits first, and so may find less than all here."""
    grants = state.grants.get(account_id)
    if not grants:
        return 0
    left = amount_micro
    if paid_first:
        paid = balance_of(state, account_id).balance_micro - sum(grant.remaining_micro for grant in grants)
        left -= min(left, paid)
    granted = 0
    for grant in _in_order(grants):
        part = min(grant.remaining_micro, left - granted)
        granted += _use(writes, grant, part)
    return granted


def free(state: State, account_id: uuid.UUID) -> int:
    """What the account has that is neither held nor expired."""
    balance = balance_of(state, account_id)
    return max(0, balance.balance_micro - balance.held_micro - expired(state, account_id))


def expired(state: State, account_id: uuid.UUID) -> int:
    """What remains of grants whose time is over: open holds cover it."""
    return sum(grant.remaining_micro for grant in state.grants.get(account_id, ()) if _is_over(grant, state.now))


def lapse(state: State, writes: Writes) -> None:
    """End what has expired in every account of the batch, as far as no open hold covers it."""
    for account_id, grants in state.grants.items():
        balance = state.balances.get(account_id)
        if balance is None:
            continue  # somebody else has it locked
        for grant in _in_order(grants):
            part = min(grant.remaining_micro, balance.balance_micro - balance.held_micro)
            if part and _is_over(grant, state.now):
                _use(writes, grant, part)
                enter(
                    state,
                    writes,
                    account_id,
                    new_id(),
                    EXPIRY,
                    CUSTOMER,
                    PROMOTION,
                    part,
                    granted_micro=part,
                    subject_id=grant.id,
                )


def _in_order(grants: list[GrantState]) -> list[GrantState]:
    """As they are used: the lowest priority first, then the soonest to expire, then the oldest."""
    return sorted(grants, key=lambda grant: (grant.priority, grant.expires_at or NEVER, grant.created_at, grant.id))


def _is_over(grant: GrantState, now: datetime) -> bool:
    return grant.expires_at is not None and grant.expires_at <= now


def _use(writes: Writes, grant: GrantState, amount_micro: int) -> int:
    if amount_micro:
        grant.remaining_micro -= amount_micro
        writes.grants[grant.id] = grant
    return amount_micro
