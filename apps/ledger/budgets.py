"""What becomes of budget windows beside calls: told about when they fill up, and put into the history when their time
is over. No call needs any of it: a window is derived from the store's clock, and one that was closed is found there."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from django.db import connection, transaction
from django.db.models import DateTimeField, Exists, ExpressionWrapper, OuterRef, QuerySet

from apps.accounts.models import Account, Notification
from apps.accounts.notifications import notify
from apps.core.errors import rfc3339
from apps.core.ids import new_id
from apps.core.money import Credits
from apps.keys.models import ApiKey, ModelLimit
from apps.ledger.books import ABSORBED, COMPENSATION
from apps.ledger.models import Balance, BudgetWindow, ClosedWindow, Hold
from apps.ledger.rules import DAILY, HOURLY, LIFETIME, window_start
from apps.ledger.store import orm

logger = logging.getLogger(__name__)

BATCH: Final = 100
"""Accounts that are locked at once, for the milliseconds that it takes to put their windows away."""
CHUNK: Final = 1_000
THRESHOLDS: Final = (80, 100)
"""Percent of a budget: each is told once per window."""
LENGTHS: Final = {HOURLY: timedelta(hours=1), DAILY: timedelta(days=1)}

LimitKey = tuple[uuid.UUID, str, str]
"""account, scope, period"""


def tend_windows() -> int:
    """Tell of budgets that fill up, then close what is over; return how many windows were closed.

    May run twice, at once in two places, late or never.
    """
    now = orm.store_instant()
    _tell(BudgetWindow.objects.filter(spent_micro__gt=0, starts_at__gte=window_start(DAILY, now)))
    _tell(BudgetWindow.objects.filter(spent_micro__gt=0, period=LIFETIME))
    return close_windows(now)


def close_windows(now: datetime) -> int:
    """Move the hours and days that are over into the history, except those that holds or their tombstones count in."""
    closed = 0
    accounts = iter(list(_over(now).order_by("account_id").values_list("account_id", flat=True).distinct()))
    while batch := list(islice(accounts, BATCH)):
        with transaction.atomic():
            closed += _close(batch, now)
    return closed


def _over(now: datetime) -> QuerySet[BudgetWindow]:
    """Windows whose time is over and that nothing counts in any more."""
    found = BudgetWindow.objects.none()
    for period, length in LENGTHS.items():
        ends_at = ExpressionWrapper(OuterRef("starts_at") + length, output_field=DateTimeField())
        holds = Hold.objects.filter(
            account_id=OuterRef("account_id"), created_at__gte=OuterRef("starts_at"), created_at__lt=ends_at
        )
        found |= BudgetWindow.objects.filter(
            ~Exists(holds), period=period, starts_at__lt=window_start(period, now), held_micro=0
        )
    return found


def _close(accounts: Sequence[uuid.UUID], now: datetime) -> int:
    # The accounts' rows first, as every writer of their money does; one that is busy keeps its windows until next time.
    balances = Balance.objects.filter(account_id__in=accounts).order_by("account_id")
    is_postgres = connection.vendor == "postgresql"
    locked = balances.select_for_update(no_key=True, skip_locked=is_postgres).values_list("account_id", flat=True)
    windows = list(_over(now).filter(account_id__in=list(locked)))
    _tell(windows)
    ClosedWindow.objects.bulk_create(
        [
            ClosedWindow(
                id=new_id(),
                account_id=window.account_id,
                scope=window.scope,
                period=window.period,
                starts_at=window.starts_at,
                spent_micro=window.spent_micro,
                closed_at=now,
            )
            for window in windows
        ],
        update_conflicts=True,
        unique_fields=["account_id", "scope", "period", "starts_at"],
        update_fields=["spent_micro", "closed_at"],
    )
    BudgetWindow.objects.filter(id__in=[window.id for window in windows]).delete()
    return len(windows)


def _tell(windows: QuerySet[BudgetWindow] | list[BudgetWindow]) -> None:
    rows = iter(windows) if isinstance(windows, list) else windows.iterator(CHUNK)
    while chunk := list(islice(rows, CHUNK)):
        limits = dict(_limits(chunk))
        for window in chunk:
            limit_micro = limits.get((window.account_id, window.scope, window.period))
            if window.scope == ABSORBED:
                _tell_of_absorbed(window, limit_micro)
            elif window.scope == COMPENSATION:
                _tell_of_insurance(window, limit_micro)
            elif limit_micro:
                _tell_of_budget(window, limit_micro)


def _limits(windows: Iterable[BudgetWindow]) -> Iterator[tuple[LimitKey, int | None]]:
    """The limits that are set now in the scopes of these windows."""
    windows = list(windows)
    accounts = {window.account_id for window in windows}
    for account in Account.objects.filter(id__in=accounts):
        yield (account.id, "account", DAILY), account.daily_budget_micro
        yield (account.id, ABSORBED, DAILY), account.absorbed_cap_micro
        yield (account.id, COMPENSATION, DAILY), account.insurance_cap_micro
    keys = {key_id for window in windows if (key_id := _key_of(window.scope)) is not None}
    for key in ApiKey.objects.filter(id__in=keys):
        scope = f"key:{key.id}"
        yield (key.account_id, scope, LIFETIME), key.limit_micro
        yield (key.account_id, scope, DAILY), key.daily_budget_micro
        yield (key.account_id, scope, HOURLY), key.hourly_budget_micro
    for limit in ModelLimit.objects.filter(key_id__in=keys).select_related("key"):
        yield (limit.key.account_id, f"key:{limit.key_id}:{limit.model_id}", LIFETIME), limit.limit_micro


def _key_of(scope: str) -> uuid.UUID | None:
    kind, _, rest = scope.partition(":")
    try:
        return uuid.UUID(rest.partition(":")[0]) if kind == "key" else None
    except ValueError:
        return None


def _tell_of_budget(window: BudgetWindow, limit_micro: int) -> None:
    for percent in THRESHOLDS:
        if window.spent_micro * 100 >= limit_micro * percent:
            spent, limit = Credits(window.spent_micro), Credits(limit_micro)
            notify(
                account_id=window.account_id,
                kind=Notification.Kind.BUDGET,
                subject=f"{_name(window)} {percent}%",
                message=f"{spent} of {limit} credits are spent ({window.scope}, {window.period}).",
            )


def _tell_of_absorbed(window: BudgetWindow, cap_micro: int | None) -> None:
    absorbed = Credits(window.spent_micro)
    notify(
        account_id=window.account_id,
        kind=Notification.Kind.ABSORBED,
        subject=_name(window),
        message=f"Calls cost {absorbed} credits more than could be charged for them: the house paid.",
    )
    if cap_micro is None or window.spent_micro < cap_micro:
        return
    is_new = notify(
        account_id=window.account_id,
        kind=Notification.Kind.ABSORBED_CAP,
        subject=_name(window),
        message=f"The house paid {absorbed} credits: no further call is served on this day (UTC).",
    )
    if is_new:
        logger.error(
            "account %s: the house paid %s credits for its calls today, its cap is %s: no further call is served",
            window.account_id,
            absorbed,
            Credits(cap_micro),
        )


def _tell_of_insurance(window: BudgetWindow, cap_micro: int | None) -> None:
    if cap_micro is not None and window.spent_micro >= cap_micro:
        notify(
            account_id=window.account_id,
            kind=Notification.Kind.INSURANCE_CAP,
            subject=_name(window),
            message=f"Insurance paid {Credits(window.spent_micro)} credits: no more of them on this day (UTC).",
        )


def _name(window: BudgetWindow) -> str:
    """What one window is told of under."""
    return f"{window.scope} {window.period} {rfc3339(window.starts_at)}"
