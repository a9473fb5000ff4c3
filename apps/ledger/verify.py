"""Proof of the ledger: every chain unbroken, every balance its entries' sum, every hold accounted for."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from operator import attrgetter

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Subquery, Sum
from django.db.models.functions import Now

from apps.accounts.models import Account
from apps.core.ids import show_request_id
from apps.core.money import MAX_MICRO, Credits
from apps.ledger.books import ABSORBED, COMPENSATION, CUSTOMER, HOUSE, RECEIVABLE
from apps.ledger.journal.survey import survey
from apps.ledger.models import Balance, BudgetWindow, ClosedWindow, Entry, Grant, Hold, ProcessLease
from apps.ledger.rules import LIFETIME
from apps.ledger.store.orm import held_windows
from apps.ledger.store.protocol import LEASE_LIFE_S
from apps.usage.models import UsageRecord

MAX_PROBLEMS = 100
"""Enough to see what is wrong; the rest is counted by running again after a repair."""
SWEEP_GRACE = timedelta(seconds=60)
"""A hold of a dead process is a problem only when the sweeper had this long to expire it."""
LEASE_LIFE = timedelta(seconds=LEASE_LIFE_S)
CHUNK = 5_000
MORE_CHECKS: list[Callable[[Callable[[str], None]], None]] = []
"""Proofs of apps that build on the ledger, which they add when they are ready. Each adds a line per problem."""
GIVING = (Entry.Kind.GRANT, Entry.Kind.REFUND, Entry.Kind.CORRECTION)
"""Kinds of entries that a grant can come from."""


@dataclass(slots=True)
class Report:
    """What was looked at, and what is wrong: empty `problems` is the proof."""

    accounts: int = 0
    entries: int = 0
    journalled: int = 0
    """Settlements that wait in the journals of this data directory: a live process makes its own in a moment."""
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
    with _one_view():
        held = _check_holds(report)
        _check_windows(report, held)
        _check_lifetimes(report)
        _check_days(report, ABSORBED, "the house")
        _check_days(report, COMPENSATION, "insurance")
        _check_chains(report)
        _check_records(report)
        for check in MORE_CHECKS:
            check(report.add)
    _check_journals(report)
    return report


@contextmanager
def _one_view() -> Iterator[None]:
    """One snapshot for all reads, the caller's where there is one. On SQLite not Django's transaction, which would be
    a writer's and keep every call waiting."""
    if connection.in_atomic_block:
        yield
    elif connection.vendor == "postgresql":
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield
    else:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN DEFERRED")
            try:
                yield
            finally:
                cursor.execute("ROLLBACK")


def _check_holds(report: Report) -> dict[tuple[uuid.UUID, str, str, str], int]:
    """Compare each account's `held` with its open holds; return what they hold per budget window."""
    per_account: dict[uuid.UUID, int] = defaultdict(int)
    per_window: dict[tuple[uuid.UUID, str, str, str], int] = defaultdict(int)
    alive = set(ProcessLease.objects.filter(expires_at__gte=Now() - SWEEP_GRACE).values_list("process_id", flat=True))
    # A process that stopped in order has no lease any more; what it left is the sweeper's like any other's.
    old = Hold.objects.filter(state=Hold.State.OPEN, created_at__lt=Now() - LEASE_LIFE - SWEEP_GRACE)
    for hold in old.exclude(process_id__in=alive):
        report.add(f"{show_request_id(hold.request_id)}: open hold of a process that is gone")
    for hold in Hold.objects.filter(state=Hold.State.OPEN).iterator(CHUNK):
        per_account[hold.account_id] += hold.amount_micro
        for window in held_windows(hold.windows):
            key = (hold.account_id, window.scope, window.period, window.starts_at.isoformat())
            per_window[key] += hold.amount_micro
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


def _check_lifetimes(report: Report) -> None:
    """Compare what a key's lifetime windows say was spent with its records. Of a window that was opened before records
    were removed it may be more; never less."""
    lifetimes = BudgetWindow.objects.filter(period=LIFETIME)
    if not lifetimes.exists():
        return
    logged: dict[tuple[uuid.UUID, str], int] = defaultdict(int)
    sums = UsageRecord.objects.filter(charge_micro__gt=0).order_by().values_list("account_id", "key_id", "model_id")
    for account_id, key_id, model_id, amount in sums.annotate(sum=Sum("charge_micro")).iterator(CHUNK):
        logged[account_id, f"key:{key_id}"] += amount
        logged[account_id, f"key:{key_id}:{model_id}"] += amount
    for window in lifetimes.iterator(CHUNK):
        expected = logged[window.account_id, window.scope]
        if window.spent_micro < expected:
            report.add(
                f"account {window.account_id}: window {window.scope} lifetime has spent"
                f" {Credits(window.spent_micro)}, its usage records sum to {Credits(expected)}"
            )


def _check_days(report: Report, kind: str, payer: str) -> None:
    """Compare what was paid for each account, by its entries, with the days that count it towards the cap."""
    entries = Entry.objects.filter(kind=kind).order_by().values_list("account_id")
    paid = dict(entries.annotate(sum=Sum("amount_micro")))
    counted: dict[uuid.UUID, int] = defaultdict(int)
    for windows in (BudgetWindow.objects, ClosedWindow.objects):
        days = windows.filter(scope=kind).order_by().values_list("account_id")
        for account_id, amount in days.annotate(sum=Sum("spent_micro")):
            counted[account_id] += amount
    for account_id in paid.keys() | counted.keys():
        if min(paid.get(account_id, 0), MAX_MICRO) != min(counted[account_id], MAX_MICRO):
            report.add(
                f"account {account_id}: {payer} paid {Credits(paid.get(account_id, 0))}, its days count"
                f" {Credits(counted[account_id])}"
            )


def _check_chains(report: Report) -> None:
    balances = {balance.account_id: balance for balance in Balance.objects.iterator(CHUNK)}
    for account_id in Account.objects.values_list("id", flat=True):
        if account_id not in balances:
            report.add(f"account {account_id}: no balance")
    report.accounts = len(balances)
    total = sum(balance.balance_micro for balance in balances.values())
    remaining = _check_grants(report)
    entries = Entry.objects.order_by("account_id", "seq").iterator(CHUNK)
    for account_id, chain in groupby(entries, key=attrgetter("account_id")):
        sums = _check_chain(report, account_id, chain, balances.get(account_id))
        total += sums.house_micro
        _check_sums(report, account_id, sums, balances.pop(account_id, None), remaining.pop(account_id, 0))
    for account_id, balance in balances.items():
        if balance.seq or balance.balance_micro or balance.owed_micro:
            report.add(f"account {account_id}: a balance of {Credits(balance.balance_micro)} without entries")
    for account_id in remaining:
        report.add(f"account {account_id}: grants without entries")
    if total:
        report.add(f"what customers have and what the house has differ by {Credits(total)}: debits are not credits")


@dataclass(slots=True)
class _Sums:
    """What an account's entries add up to."""

    house_micro: int = 0
    """Moved into the house's accounts."""
    granted_micro: int = 0
    """Into the account, of what nobody paid for."""
    owed_micro: int = 0


def _check_chain(report: Report, account_id: uuid.UUID, chain: Iterable[Entry], balance: Balance | None) -> _Sums:
    """Walk one account's entries in order of `seq`; return what they add up to."""
    last_seq, last_balance, last_at = 0, 0, None
    sums = _Sums()
    for entry in chain:
        report.entries += 1
        name = f"account {account_id}: entry {entry.seq}"
        sign = (entry.credit == CUSTOMER) - (entry.debit == CUSTOMER)
        sums.house_micro += entry.amount_micro * (entry.credit.startswith(HOUSE) - entry.debit.startswith(HOUSE))
        sums.granted_micro += entry.granted_micro * sign
        sums.owed_micro += entry.amount_micro * ((entry.debit == RECEIVABLE) - (entry.credit == RECEIVABLE))
        if entry.seq != last_seq + 1:
            report.add(f"{name} follows entry {last_seq}")
        if entry.balance_before_micro != last_balance:
            report.add(f"{name} begins at another balance than the one before it ended with")
        if entry.balance_after_micro != entry.balance_before_micro + entry.amount_micro * sign:
            report.add(f"{name} does not add up")
        if last_at is not None and entry.created_at < last_at:
            report.add(f"{name} is dated before the one that it follows")
        last_seq, last_balance, last_at = entry.seq, entry.balance_after_micro, entry.created_at
    if balance is None:
        report.add(f"account {account_id}: entries without a balance")
    elif (balance.seq, balance.balance_micro) != (last_seq, last_balance):
        report.add(
            f"account {account_id}: balance {Credits(balance.balance_micro)} at entry {balance.seq}, its entries end"
            f" with {Credits(last_balance)} at entry {last_seq}"
        )
    return sums


def _check_sums(
    report: Report, account_id: uuid.UUID, sums: _Sums, balance: Balance | None, remaining_micro: int
) -> None:
    """Compare what is kept beside the entries with what they add up to."""
    if remaining_micro != sums.granted_micro:
        report.add(
            f"account {account_id}: {Credits(remaining_micro)} of its grants remain, its entries leave"
            f" {Credits(sums.granted_micro)}"
        )
    if balance is not None and balance.owed_micro != sums.owed_micro:
        report.add(
            f"account {account_id}: owes {Credits(balance.owed_micro)}, its entries say {Credits(sums.owed_micro)}"
        )
    if balance is not None and remaining_micro > balance.balance_micro:
        report.add(f"account {account_id}: more remains of its grants than it has")


def _check_grants(report: Report) -> dict[uuid.UUID, int]:
    """Compare each grant with the entries that gave it and that ended it; return what remains per account."""
    of_grant = Entry.objects.filter(account_id=OuterRef("account_id"), operation_id=OuterRef("id"))
    given = of_grant.filter(kind__in=GIVING, granted_micro=OuterRef("amount_micro"))
    ended = Entry.objects.filter(account_id=OuterRef("account_id"), subject_id=OuterRef("id"), kind=Entry.Kind.EXPIRY)
    lapsed = ended.order_by().values("subject_id").annotate(sum=Sum("amount_micro")).values("sum")
    for grant in Grant.objects.filter(~Exists(given)).iterator(CHUNK):
        report.add(f"account {grant.account_id}: no entry gave the grant {grant.id}")
    used = F("amount_micro") - F("remaining_micro")
    for grant in Grant.objects.annotate(lapsed=Subquery(lapsed)).filter(lapsed__gt=used).iterator(CHUNK):
        report.add(f"account {grant.account_id}: more of the grant {grant.id} expired than is gone")
    sums = Grant.objects.filter(remaining_micro__gt=0).order_by().values_list("account_id")
    return dict(sums.annotate(sum=Sum("remaining_micro")))


def _check_records(report: Report) -> None:
    """Compare what the usage log says was charged with the charges. A record may be gone: logs are kept for a time."""
    log = UsageRecord.objects.filter(account_id=OuterRef("account_id"), request_id=OuterRef("operation_id"))
    charges = Entry.objects.filter(kind=Entry.Kind.CHARGE).annotate(logged_micro=Subquery(log.values("charge_micro")))
    for entry in charges.exclude(logged_micro=None).exclude(logged_micro=F("amount_micro")).iterator(CHUNK):
        report.add(f"{show_request_id(entry.operation_id)}: its charge and its usage record differ")
    charge = Entry.objects.filter(
        account_id=OuterRef("account_id"), operation_id=OuterRef("request_id"), kind=Entry.Kind.CHARGE
    )
    for record in UsageRecord.objects.filter(~Exists(charge), charge_micro__gt=0).iterator(CHUNK):
        report.add(f"{show_request_id(record.request_id)}: its usage record tells of a charge that was never made")


def _check_journals(report: Report) -> None:
    """The journals that this machine sees: nothing may wait in one that no process keeps, nor be kept aside."""
    if settings.LEDGER_JOURNAL_DIR is None:
        return
    found = survey(settings.LEDGER_JOURNAL_DIR, patience_s=SWEEP_GRACE.total_seconds())
    report.journalled = found.pending
    for path in found.orphaned:
        report.add(f"{path}: settlements of a process that is gone wait to be replayed")
    for path in found.aside:
        report.add(f"{path}: settlements that could not be replayed")
