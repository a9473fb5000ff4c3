"""What money there is, and why a call was charged what it was."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.db.models import Sum

from apps.catalog.models import PriceVersion
from apps.catalog.selectors import insurance_facts
from apps.core.errors import rfc3339
from apps.core.ids import show_request_id
from apps.core.money import NOTHING, Credits, json_number
from apps.ledger.models import Balance, BudgetWindow, ClosedWindow, Entry, Grant, Hold
from apps.ledger.rules import window_start
from apps.ledger.store import orm
from apps.usage.models import UsageRecord
from apps.usage.selectors import record_facts


@dataclass(frozen=True, slots=True)
class BalanceFacts:
    balance: Credits
    held: Credits
    expired: Credits = NOTHING
    """Still in the balance, and of no use."""
    owed: Credits = NOTHING

    @property
    def available(self) -> Credits:
        return max(NOTHING, self.balance - self.held - self.expired)


def balance_of(account_id: uuid.UUID) -> BalanceFacts:
    """What an account has, and what of it open calls hold."""
    row = Balance.objects.filter(account_id=account_id).first()
    if row is None:
        return BalanceFacts(NOTHING, NOTHING)
    return BalanceFacts(
        Credits(row.balance_micro), Credits(row.held_micro), Credits(_expired(account_id)), Credits(row.owed_micro)
    )


def _expired(account_id: uuid.UUID) -> int:
    """What is in the balance of grants whose time is over by the database's clock: next to be taken off."""
    grants = Grant.objects.filter(account_id=account_id, remaining_micro__gt=0, expires_at__lte=orm.store_now())
    return grants.aggregate(sum=Sum("remaining_micro"))["sum"] or 0


def refundable(account_id: uuid.UUID, request_id: uuid.UUID) -> Credits:
    """What of a request's charge has not come back yet."""
    of_request = Entry.objects.filter(account_id=account_id)
    charge = of_request.filter(operation_id=request_id, kind=Entry.Kind.CHARGE).first()
    if charge is None:
        return NOTHING
    refunded = of_request.filter(subject_id=request_id, kind=Entry.Kind.REFUND)
    annulled = of_request.filter(operation_id=request_id, kind=Entry.Kind.CORRECTION)
    back = sum(entries.aggregate(sum=Sum("amount_micro"))["sum"] or 0 for entries in (refunded, annulled))
    return Credits(charge.amount_micro - back)


def explain(request_id: uuid.UUID) -> dict[str, Any]:
    """Why a call was served, refused or charged what it was: its record with hold, entries, limits, price, timings.

    Raises: LookupError, where no such request is known.
    """
    record = UsageRecord.objects.filter(request_id=request_id).first()
    hold = Hold.objects.filter(request_id=request_id).first()
    known = record or hold
    if known is None:
        raise LookupError(request_id)
    facts: dict[str, Any] = {"request_id": show_request_id(request_id), "status": "running"}
    if record is not None:
        facts = record_facts(record) | {
            "error_detail": record.error_detail or None,
            "refused_by": record.facts,
            "attempts": record.attempts,
            "upstream_request_id": record.upstream_request_id or None,
            "credits_held": json_number(record.held_micro),
            "price": _price(record.price_version_id),
            "insurance_policy": insurance_facts(record.insurance_version_id),
        }
    # With its account the request's entries are found by their key, in one partition.
    entries = Entry.objects.filter(account_id=known.account_id, operation_id=request_id).order_by("seq")
    return facts | {
        "hold": None if hold is None else _hold(hold),
        "entries": [_entry(entry) for entry in entries],
        "limits": [] if record is None else _limits(record),
    }


def _price(version_id: uuid.UUID | None) -> dict[str, Any] | None:
    """The prices that the charge was made with: microcredits per million tokens."""
    price = None if version_id is None else PriceVersion.objects.filter(id=version_id).first()
    if price is None:
        return None
    return {
        "version": price.version,
        "effective_at": rfc3339(price.effective_at),
        "input": price.input,
        "cache_read": price.cache_read,
        "cache_write_5m": price.cache_write,
        "cache_write_1h": price.cache_write_1h,
        "output": price.output,
        "server_tool_request": price.server_tool_request,
    }


def _hold(hold: Hold) -> dict[str, Any]:
    return {
        "state": hold.state,
        "credits": json_number(hold.amount_micro),
        "created_at": rfc3339(hold.created_at),
        "windows": hold.windows,
    }


def _limits(record: UsageRecord) -> list[dict[str, Any]]:
    """What the budget windows that the call fell in hold now, or held when they were closed."""
    scopes = ["account", f"key:{record.key_id}", f"key:{record.key_id}:{record.model_id}"]
    of_call = {"account_id": record.account_id, "scope__in": scopes, "starts_at__lte": record.received_at}
    windows: list[BudgetWindow | ClosedWindow] = [
        *BudgetWindow.objects.filter(**of_call),
        *ClosedWindow.objects.filter(**of_call),
    ]
    return [
        {
            "scope": window.scope,
            "period": window.period,
            "starts_at": rfc3339(window.starts_at),
            "spent": json_number(window.spent_micro),
            "held": json_number(window.held_micro) if isinstance(window, BudgetWindow) else 0,
        }
        for window in sorted(windows, key=lambda window: (window.scope, -window.starts_at.timestamp()))
        if window.starts_at == window_start(window.period, record.received_at)
    ]


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "entry_id": str(entry.id),
        "request_id": show_request_id(entry.operation_id),
        "seq": entry.seq,
        "kind": entry.kind,
        "debit": entry.debit,
        "credit": entry.credit,
        "credits": json_number(entry.amount_micro),
        "balance_before": json_number(entry.balance_before_micro),
        "balance_after": json_number(entry.balance_after_micro),
        "reason": entry.reason,
    }
