"""Proof of the ledger: every chain unbroken, every balance its entries' sum, every hold accounted for."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import connection, transaction
from django.db.models.functions import Now

from apps.accounts.models import Account
from apps.core.ids import show_request_id
from apps.core.money import Credits
from apps.ledger.models import Balance, BudgetWindow, Entry, Hold, ProcessLease
from apps.ledger.rules import CUSTOMER
from apps.ledger.store.orm import held_windows

MAX_PROBLEMS = 100
"""Enough to see what is wrong; the rest is counted by running again after a repair."""
SWEEP_GRACE = timedelta(seconds=60)
"""A hold of a dead process is a problem only when the sweeper had this long to expire it."""
CHUNK = 5_000


@dataclass(slots=True)
class Report:
    """What was looked at, and what is wrong: empty `problems` is the proof."""

    accounts: int = 0
    entries: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def is_ok(self) -> bool:
        return not self.problems

    def add(self, problem: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


def verify_ledger() -> Report:
    """Check every account in one consistent view of the database; holds no locks that calls wait for."""
    report = Report()
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        held = _check_holds(report)
        _check_windows(report, held)
        _check_chains(report)
    return report


def _check_holds(report: Report) -> dict[tuple[uuid.UUID, str, str, str], int]:
    """Compare each account's `held` with its open holds; return what they hold per budget window."""
    per_account: dict[uuid.UUID, int] = defaultdict(int)
    per_window: dict[tuple[uuid.UUID, str, str, str], int] = defaultdict(int)
    alive = {
        lease.process_id for lease in ProcessLease.objects.filter(expires_at__gte=Now() - SWEEP_GRACE)
    }
    for hold in Hold.objects.filter(state=Hold.State.OPEN).iterator(CHUNK):
        per_account[hold.account_id] += hold.amount_micro
        for window in held_windows(hold.windows):
            key = (hold.account_id, window.scope, window.period, window.starts_at.isoformat())
            per_window[key] += hold.amount_micro
        if hold.process_id not in alive:
            report.add(f"{show_request_id(hold.request_id)}: open hold of a process that ended over a minute ago")
    for balance in Balance.objects.order_by("account_id").iterator(CHUNK):
        held_micro = per_account.pop(balance.account_id, 0)
        if balance.held_micro != held_micro:
            report.add(
                f"account {balance.account_id}: held is {Credits(balance.held_micro)}, its open holds sum to"
                f" {Credits(held_micro)}"
            )
    for account_id in per_account:
        report.add(f"account {account_id}: open holds without a balance")
    return per_window


def _check_windows(report: Report, held: dict[tuple[uuid.UUID, str, str, str], int]) -> None:
    for window in BudgetWindow.objects.iterator(CHUNK):
        key = (window.account_id, window.scope, window.period, window.starts_at.isoformat())
        expected = held.pop(key, 0)
        if window.held_micro != expected:
            report.add(
                f"account {window.account_id}: window {window.scope} {window.period} holds"
                f" {Credits(window.held_micro)}, its open holds sum to {Credits(expected)}"
            )
    for key, amount in held.items():
        if amount:
            report.add(f"account {key[0]}: open holds in a window that is not on file: {key[1]} {key[2]}")


def _check_chains(report: Report) -> None:
    balances = {balance.account_id: balance for balance in Balance.objects.iterator(CHUNK)}
    for account_id in Account.objects.values_list("id", flat=True):
        if account_id not in balances:
            report.add(f"account {account_id}: no balance")
    report.accounts = len(balances)
    sums: dict[str, int] = defaultdict(int)
    for account_id, entries in _chains():
        last_seq, last_balance = 0, 0
        for entry in entries:
            report.entries += 1
            sums[entry.debit] -= entry.amount_micro
            sums[entry.credit] += entry.amount_micro
            moved = entry.amount_micro * ((entry.credit == CUSTOMER) - (entry.debit == CUSTOMER))
            if entry.seq != last_seq + 1:
                report.add(f"account {account_id}: entry {entry.seq} follows entry {last_seq}")
            if entry.balance_before_micro != last_balance:
                report.add(f"account {account_id}: entry {entry.seq} begins at another balance than the one before ended")
            if entry.balance_after_micro != entry.balance_before_micro + moved:
                report.add(f"account {account_id}: entry {entry.seq} does not add up")
            last_seq, last_balance = entry.seq, entry.balance_after_micro
        balance = balances.pop(account_id, None)
        if balance is None:
            report.add(f"account {account_id}: entries without a balance")
        elif (balance.seq, balance.balance_micro) != (last_seq, last_balance):
            report.add(
                f"account {account_id}: balance {Credits(balance.balance_micro)} at entry {balance.seq}, its entries"
                f" end with {Credits(last_balance)} at entry {last_seq}"
            )
    for account_id, balance in balances.items():
        if balance.seq or balance.balance_micro:
            report.add(f"account {account_id}: a balance of {Credits(balance.balance_micro)} without entries")
    if sum(sums.values()):
        report.add("debits and credits differ")


def _chains() -> Iterator[tuple[uuid.UUID, list[Entry]]]:
    """Each account's entries in order of `seq`, one account in memory at a time."""
    chain: list[Entry] = []
    for entry in Entry.objects.order_by("account_id", "seq").iterator(CHUNK):
        if chain and chain[0].account_id != entry.account_id:
            yield chain[0].account_id, chain
            chain = []
        chain.append(entry)
    if chain:
        yield chain[0].account_id, chain
