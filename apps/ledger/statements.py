"""An account's statement: what it began with, every entry, what it ended with. Opening and entries add up to closing.

A period is cut by number, not by time: an account's entries are never dated before those that they follow, so an
instant falls between two of them, and what ends one statement begins the next.
"""

from __future__ import annotations

import csv
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from typing import Any, Final

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery, Sum

from apps.accounts.mistakes import Mistake
from apps.core.errors import rfc3339
from apps.core.ids import show_request_id
from apps.core.money import Credits, json_number
from apps.ledger.books import CUSTOMER
from apps.ledger.models import Entry
from apps.usage.models import UsageRecord

PAGE: Final = 500
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet would take a text that begins with one of these for a formula."""
COLUMNS: Final = (
    "seq",
    "created_at",
    "kind",
    "credits",
    "granted",
    "balance_before",
    "balance_after",
    "debit",
    "credit",
    "model",
    "operation",
    "about",
    "reference",
    "reason",
    "actor",
)


class BadPeriod(Mistake):
    """The text names no month, or the instants no period."""


@dataclass(frozen=True, slots=True)
class Period:
    """From an instant up to, and not with, another."""

    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class KindTotal:
    """What all entries of one kind did: to the account, and between the house's own accounts beside it."""

    kind: str
    entries: int
    credits: Credits
    beside: Credits


@dataclass(frozen=True, slots=True)
class ModelTotal:
    """What calls of one model were charged; None where the log does not tell any more."""

    model_id: str | None
    calls: int
    credits: Credits


@dataclass(frozen=True, slots=True)
class Statement:
    account_id: uuid.UUID
    period: Period
    opening: Credits
    closing: Credits
    after_seq: int
    last_seq: int
    totals: Sequence[KindTotal]
    models: Sequence[ModelTotal]


@dataclass(frozen=True, slots=True)
class Line:
    """An entry as a statement shows it."""

    entry: Entry
    model_id: str | None

    @property
    def credits(self) -> Credits:
        """What it brought the account; less than nothing where it took."""
        return Credits(self.entry.balance_after_micro - self.entry.balance_before_micro)


def month(text: str) -> Period:
    """`2026-11` as a period, in UTC.

    Raises: BadPeriod.
    """
    try:
        starts_at = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
        ends_at = starts_at.replace(year=starts_at.year + starts_at.month // 12, month=starts_at.month % 12 + 1)
    except ValueError:
        raise BadPeriod(f"not a month, like 2026-11: {text!r}") from None
    return Period(starts_at, ends_at)


def between(starts_at: datetime, ends_at: datetime) -> Period:
    """Raises: BadPeriod, where it would end before it begins."""
    if ends_at <= starts_at:
        raise BadPeriod("the period ends before it begins")
    return Period(starts_at, ends_at)


def make_statement(account_id: uuid.UUID, period: Period) -> Statement:
    """Add up a period. One that is not over yet ends with the newest entry."""
    after_seq, opening = _position(account_id, period.starts_at)
    last_seq, closing = _position(account_id, period.ends_at)
    entries = Entry.objects.filter(account_id=account_id, seq__gt=after_seq, seq__lte=last_seq)
    return Statement(
        account_id, period, opening, closing, after_seq, last_seq, _totals(entries), _models(account_id, entries)
    )


def statement_page(statement: Statement, *, after_seq: int | None = None, limit: int = PAGE) -> list[Line]:
    """The next entries in order, from the one after `after_seq` on; none when there are no more."""
    start = statement.after_seq if after_seq is None else max(after_seq, statement.after_seq)
    found = Entry.objects.filter(account_id=statement.account_id, seq__gt=start, seq__lte=statement.last_seq)
    entries = list(found.order_by("seq")[:limit])
    calls = [entry.operation_id for entry in entries if entry.kind == Entry.Kind.CHARGE]
    logged = UsageRecord.objects.filter(account_id=statement.account_id, request_id__in=calls)
    models = dict(logged.values_list("request_id", "model_id"))
    return [Line(entry, models.get(entry.operation_id)) for entry in entries]


def statement_lines(statement: Statement) -> Iterator[Line]:
    """Every entry, read a page at a time."""
    after_seq = statement.after_seq
    while page := statement_page(statement, after_seq=after_seq):
        yield from page
        after_seq = page[-1].entry.seq


def statement_facts(statement: Statement) -> dict[str, Any]:
    """A statement as JSON shows it, without its entries."""
    return {
        "account_id": str(statement.account_id),
        "from": rfc3339(statement.period.starts_at),
        "to": rfc3339(statement.period.ends_at),
        "opening": json_number(statement.opening.micro),
        "closing": json_number(statement.closing.micro),
        "totals": [
            {
                "kind": total.kind,
                "entries": total.entries,
                "credits": json_number(total.credits.micro),
                "beside": json_number(total.beside.micro),
            }
            for total in statement.totals
        ],
        "models": [
            {"model": total.model_id, "calls": total.calls, "credits": json_number(total.credits.micro)}
            for total in statement.models
        ],
    }


def line_facts(line: Line) -> dict[str, Any]:
    """An entry as JSON shows it; the names are COLUMNS."""
    entry = line.entry
    return {
        "seq": entry.seq,
        "created_at": rfc3339(entry.created_at),
        "kind": entry.kind,
        "credits": json_number(line.credits.micro),
        "granted": json_number(entry.granted_micro),
        "balance_before": json_number(entry.balance_before_micro),
        "balance_after": json_number(entry.balance_after_micro),
        "debit": entry.debit,
        "credit": entry.credit,
        "model": line.model_id,
        "operation": show_request_id(entry.operation_id),
        "about": None if entry.subject_id is None else show_request_id(entry.subject_id),
        "reference": entry.reference or None,
        "reason": entry.reason or None,
        "actor": entry.actor or None,
    }


def csv_rows(statement: Statement) -> Iterator[str]:
    """The statement's entries as CSV, a row at a time. Texts that people wrote start no formula."""
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for line in statement_lines(statement):
        writer.writerow([_cell(value) for value in line_facts(line).values()])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return "" if value is None else value


def _position(account_id: uuid.UUID, instant: datetime) -> tuple[int, Credits]:
    """The last entry before an instant, by number, and the balance that it left. Found by halving: some twenty look-ups
    in the index of numbers, where a search by time would read the period."""
    entries = Entry.objects.filter(account_id=account_id)
    newest = entries.order_by("-seq").first()
    low, balance_micro, high = 0, 0, 0 if newest is None else newest.seq
    while low < high:
        middle = (low + high + 1) // 2
        entry = entries.filter(seq__lte=middle).order_by("-seq").first()
        assert entry is not None
        if entry.created_at < instant:
            low, balance_micro = middle, entry.balance_after_micro
        else:
            high = middle - 1
    return low, Credits(balance_micro)


def _totals(entries: QuerySet[Entry]) -> list[KindTotal]:
    into, out = Q(credit=CUSTOMER), Q(debit=CUSTOMER)
    rows = (
        entries.order_by("kind")
        .values("kind")
        .annotate(
            count=Count("seq"),
            into=Sum("amount_micro", filter=into, default=0),
            out=Sum("amount_micro", filter=out, default=0),
            beside=Sum("amount_micro", filter=~into & ~out, default=0),
        )
    )
    return [
        KindTotal(row["kind"], row["count"], Credits(int(row["into"] - row["out"])), Credits(int(row["beside"])))
        for row in rows
    ]


def _models(account_id: uuid.UUID, entries: QuerySet[Entry]) -> list[ModelTotal]:
    log = UsageRecord.objects.filter(account_id=account_id, request_id=OuterRef("operation_id"))
    charges = entries.filter(kind=Entry.Kind.CHARGE).annotate(model_id=Subquery(log.values("model_id")[:1]))
    rows = charges.order_by().values("model_id").annotate(calls=Count("seq"), amount=Sum("amount_micro"))
    totals = [ModelTotal(row["model_id"], row["calls"], Credits(int(row["amount"]))) for row in rows]
    return sorted(totals, key=lambda total: (-total.credits.micro, total.model_id or ""))
