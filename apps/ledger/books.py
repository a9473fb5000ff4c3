"""The books as the rules write them: who moves what, balances, windows. Pure."""

from __future__ import annotations

import uuid
from typing import Final

from apps.core.ids import new_id
from apps.ledger.operations import (
    BadOperation,
    BalanceState,
    EntryState,
    HeldWindow,
    NewEntry,
    State,
    WindowState,
    Writes,
)

CUSTOMER: Final = "customer"
HOUSE: Final = "house:"
"""What the names of the house's own accounts begin with."""
REVENUE: Final = "house:revenue"
CASH: Final = "house:cash"
PROMOTION: Final = "house:promotion"
ABSORPTION: Final = "house:absorbed"
ADJUSTMENT: Final = "house:adjustment"
INSURANCE: Final = "house:insurance"
RECEIVABLE: Final = "house:receivable"
"""What customers owe: payments that were reversed after their credits were spent."""

TOP_UP: Final = "top_up"
GRANT: Final = "grant"
EXPIRY: Final = "expiry"
CHARGE: Final = "charge"
ABSORBED: Final = "absorbed"
COMPENSATION: Final = "compensation"
REFUND: Final = "refund"
CLAW_BACK: Final = "claw_back"
OWED: Final = "owed"
REPAYMENT: Final = "repayment"
CORRECTION: Final = "correction"


def enter(
    state: State,
    writes: Writes,
    account_id: uuid.UUID,
    operation_id: uuid.UUID,
    kind: str,
    debit: str,
    credit: str,
    amount_micro: int,
    *,
    reference: str = "",
    reason: str = "",
    actor: str = "",
    granted_micro: int = 0,
    subject_id: uuid.UUID | None = None,
) -> NewEntry:
    """Move `amount_micro` from `debit` to `credit`: the account's next entry. Raises: BadOperation."""
    if amount_micro <= 0:
        raise BadOperation(f"an entry of {amount_micro} moves nothing")
    balance = balance_of(state, account_id)
    before = balance.balance_micro
    balance.balance_micro += (credit == CUSTOMER) * amount_micro - (debit == CUSTOMER) * amount_micro
    balance.seq += 1
    # A batch may have begun before another that got the lock first: no entry is dated before the one it follows.
    balance.moved_at = state.now if balance.moved_at is None else max(balance.moved_at, state.now)
    entry = NewEntry(
        id=new_id(),
        account_id=account_id,
        seq=balance.seq,
        operation_id=operation_id,
        kind=kind,
        debit=debit,
        credit=credit,
        amount_micro=amount_micro,
        balance_before_micro=before,
        balance_after_micro=balance.balance_micro,
        reference=reference,
        reason=reason,
        actor=actor,
        created_at=balance.moved_at,
        granted_micro=granted_micro,
        subject_id=subject_id,
    )
    # An operation may be told twice in one batch: the second finds the first here.
    state.entries[operation_id, kind] = EntryState(
        entry.id, amount_micro, before, entry.balance_after_micro, granted_micro
    )
    writes.entries.append(entry)
    writes.balances.add(account_id)
    return entry


def balance_of(state: State, account_id: uuid.UUID) -> BalanceState:
    """Raises: BadOperation, where the account has none."""
    found = state.balances.get(account_id)
    if found is None:
        raise BadOperation(f"there is no account {account_id}")
    return found


def window_of(state: State, account_id: uuid.UUID, window: HeldWindow) -> WindowState:
    """The window, begun where nothing was counted in it yet."""
    key = (account_id, window.scope, window.period, window.starts_at)
    found = state.windows.get(key)
    if found is None:
        found = state.windows[key] = WindowState()
    return found
