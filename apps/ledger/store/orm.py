"""The ledger through Django's own connection, for commands, the admin and tasks: the same rules, one operation batch
per transaction. Slower than the hot path's stores and never used by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Final

import msgspec
from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import Sum
from django.db.models.functions import Now

from apps.accounts.models import Account
from apps.core import clock
from apps.keys.models import ApiKey
from apps.ledger.models import Balance, BudgetWindow, ClosedWindow, Entry, Grant
from apps.ledger.models import Hold as HoldRow
from apps.ledger.operations import (
    BadOperation,
    BalanceState,
    EntryState,
    GrantState,
    HeldWindow,
    Hold,
    HoldState,
    KeyState,
    Move,
    Operation,
    Outcome,
    RefundState,
    State,
    WindowKey,
    WindowState,
    Writes,
)
from apps.ledger.rules import decide, window_start
from apps.ledger.store.known_calls import wanted_keys
from apps.ledger.store.wanted import (
    MissingWindow,
    WantedWindow,
    forgotten_windows,
    insured_accounts,
    missing_windows,
    open_window,
    possible_entries,
    refunded_requests,
    unfiled_windows,
    wanted_windows,
)
from apps.usage.models import UsageRecord
from apps.usage.record import COLUMNS, Record

GRANT_COLUMNS: Final = tuple(field.name for field in fields(GrantState))


def commit(operations: Sequence[Operation]) -> list[Outcome]:
    """Decide and write a batch in one transaction (or inside the caller's).

    Raises: BadOperation, and then nothing of the batch was written.
    """
    try:
        with transaction.atomic():
            state = _read(operations)
            outcomes, writes = decide(state, operations)
            _write(state, writes)
    except (DataError, IntegrityError, OverflowError, UnicodeError) as error:
        raise BadOperation(str(error)) from error
    return outcomes


def store_now() -> datetime | Now:
    """The clock that expiries and windows go by, for a query: the database's, which on SQLite is the application's."""
    return Now() if connection.vendor == "postgresql" else clock.now()


def store_instant() -> datetime:
    """The same as an instant: when the transaction began, on PostgreSQL."""
    if connection.vendor != "postgresql":
        return clock.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        now: datetime = cursor.fetchone()[0]
    return now


def held_windows(stored: object) -> tuple[HeldWindow, ...]:
    """The windows of a hold's row."""
    return msgspec.convert(stored, tuple[HeldWindow, ...])


def _read(operations: Sequence[Operation]) -> State:
    assert not wanted_keys(operations), "only callers name idempotency keys"
    accounts = {operation.account_id for operation in operations}
    rows = Balance.objects.select_for_update(no_key=True).filter(account_id__in=accounts).order_by("account_id")
    balances = {
        row.account_id: BalanceState(row.balance_micro, row.held_micro, row.seq, row.owed_micro, row.moved_at)
        for row in rows
    }
    state = State(now=store_instant(), balances=balances)
    requests = {operation.request_id for operation in operations if not isinstance(operation, Move)}
    for hold in HoldRow.objects.filter(request_id__in=requests):
        state.holds[hold.request_id] = _hold_state(hold)
    keys = {operation.key_id for operation in operations if isinstance(operation, Hold)}
    for key in ApiKey.objects.filter(id__in=keys).select_related("account"):
        state.keys[key.id] = KeyState(
            key.status != ApiKey.Status.ACTIVE,
            key.account.status != Account.Status.ACTIVE,
            key.expires_at,
            key.account.absorbed_cap_micro,
        )
    insured = Account.objects.filter(id__in=insured_accounts(operations))
    state.insurance_caps = dict(insured.values_list("id", "insurance_cap_micro"))
    _read_windows(wanted_windows(operations), state)
    for missing in missing_windows(state, operations):
        _open_window(missing, state)
    _read_windows(forgotten_windows(state, operations), state)
    for window in unfiled_windows(state, operations):
        closed = _closed(window)
        if closed is not None:
            state.windows[window] = WindowState(closed)
    for grant in Grant.objects.filter(account_id__in=accounts, remaining_micro__gt=0):
        state.grants.setdefault(grant.account_id, []).append(
            GrantState(*(getattr(grant, column) for column in GRANT_COLUMNS))
        )
    operation_ids = requests | {operation_id for _, operation_id in possible_entries(operations)}
    for entry in Entry.objects.filter(account_id__in=accounts, operation_id__in=operation_ids):
        state.entries[entry.operation_id, entry.kind] = EntryState(
            entry.id, entry.amount_micro, entry.balance_before_micro, entry.balance_after_micro, entry.granted_micro
        )
    for account_id, request_id in refunded_requests(operations):
        refunds = Entry.objects.filter(account_id=account_id, subject_id=request_id, kind=Entry.Kind.REFUND)
        sums = refunds.aggregate(amount=Sum("amount_micro"), granted=Sum("granted_micro"))
        state.refunds[request_id] = RefundState(sums["amount"] or 0, sums["granted"] or 0)
    return state


def _read_windows(windows: Iterable[WantedWindow], state: State) -> None:
    for account_id, scope, period, starts_at in windows:
        start = window_start(period, state.now) if starts_at is None else starts_at
        window = BudgetWindow.objects.filter(account_id=account_id, scope=scope, period=period, starts_at=start).first()
        if window is not None:
            state.windows[account_id, scope, period, start] = WindowState(window.spent_micro, window.held_micro)


def _open_window(missing: MissingWindow, state: State) -> None:
    records = UsageRecord.objects.filter(account_id=missing.account_id, request_id__gte=missing.since)
    holds = HoldRow.objects.filter(account_id=missing.account_id, created_at__gte=missing.starts_at)
    if missing.key_id is not None:
        records, holds = records.filter(key_id=missing.key_id), holds.filter(key_id=missing.key_id)
    if missing.model_id is not None:
        records, holds = records.filter(model_id=missing.model_id), holds.filter(model_id=missing.model_id)
    window = (missing.account_id, missing.scope, missing.period, missing.starts_at)
    closed = _closed(window)
    open_window(
        state,
        window,
        spent_micro=records.aggregate(sum=Sum("charge_micro"))["sum"] or 0 if closed is None else closed,
        holds={hold.request_id: _hold_state(hold) for hold in holds},
    )


def _closed(window: WindowKey) -> int | None:
    """What was spent in a window that was closed; None where it was not."""
    account_id, scope, period, starts_at = window
    closed = ClosedWindow.objects.filter(account_id=account_id, scope=scope, period=period, starts_at=starts_at)
    return closed.values_list("spent_micro", flat=True).first()


def _hold_state(hold: HoldRow) -> HoldState:
    return HoldState(hold.amount_micro, hold.state == HoldRow.State.OPEN, held_windows(hold.windows))


def _write(state: State, writes: Writes) -> None:
    for account_id in sorted(writes.balances):
        balance = state.balances[account_id]
        Balance.objects.filter(account_id=account_id).update(
            balance_micro=balance.balance_micro,
            held_micro=balance.held_micro,
            seq=balance.seq,
            owed_micro=balance.owed_micro,
            moved_at=balance.moved_at,
        )
    for request_id, windows in writes.recounted_holds.items():
        HoldRow.objects.filter(request_id=request_id).update(windows=msgspec.to_builtins(windows))
    for new in writes.new_holds:
        HoldRow.objects.create(
            request_id=new.request_id,
            account_id=new.account_id,
            key_id=new.key_id,
            model_id=new.model_id,
            process_id=new.process_id,
            amount_micro=new.amount_micro,
            windows=msgspec.to_builtins(new.windows),
            created_at=new.created_at,
        )
    HoldRow.objects.filter(request_id__in=writes.ended_holds).delete()
    HoldRow.objects.filter(request_id__in=writes.expired_holds).update(
        state=HoldRow.State.EXPIRED, expired_at=state.now
    )
    for account_id, scope, period, starts_at in writes.windows:
        window = state.windows[account_id, scope, period, starts_at]
        BudgetWindow.objects.update_or_create(
            account_id=account_id,
            scope=scope,
            period=period,
            starts_at=starts_at,
            defaults={"spent_micro": window.spent_micro, "held_micro": window.held_micro},
        )
    for entry in writes.entries:
        Entry.objects.create(**{field: getattr(entry, field) for field in entry.__dataclass_fields__})
    for grant in writes.grants.values():
        Grant.objects.update_or_create(
            id=grant.id,
            defaults={"remaining_micro": grant.remaining_micro},
            create_defaults={column: getattr(grant, column) for column in GRANT_COLUMNS},
        )
    _add_records(writes.records)


def _add_records(records: Sequence[Record]) -> None:
    """A record that is already there stays as it is. Looked up, because SQLite's way to ignore a conflict would drop
    a record that breaks a CHECK as silently."""
    fresh = {record.request_id: record for record in reversed(records)}
    for request_id in UsageRecord.objects.filter(request_id__in=fresh).values_list("request_id", flat=True):
        del fresh[request_id]
    UsageRecord.objects.bulk_create(
        [UsageRecord(**{column: getattr(record, column) for column in COLUMNS}) for record in fresh.values()]
    )
