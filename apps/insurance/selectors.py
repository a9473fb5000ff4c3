"""What insurance costs the house."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Count, Q, Sum

from apps.core.ids import time_bound
from apps.core.money import NOTHING, Credits, json_number
from apps.ledger.statements import Period
from apps.usage.models import UsageRecord

ALL_MODELS = "all models"


@dataclass(frozen=True, slots=True)
class Cost:
    """A model's insurance in a month."""

    model_id: str
    insured: int
    """Calls that were charged and insured."""
    triggered: int
    charged: Credits
    """For the insured ones."""
    due: Credits
    paid: Credits
    """Less than was due where a day's cap was reached, or a stream is still to be paid for."""

    @property
    def percent(self) -> Decimal:
        """What was paid of what was charged, to a hundredth of a percent."""
        if not self.charged:
            return Decimal(0)
        return (Decimal(self.paid.micro) * 100 / self.charged.micro).quantize(Decimal("0.01"))


def costs(period: Period) -> list[Cost]:
    """What insurance cost for the calls that came in within a period, by model: one pass over its usage records."""
    first, end = (time_bound(int(instant.timestamp() * 1_000)) for instant in (period.starts_at, period.ends_at))
    insured = UsageRecord.objects.filter(
        request_id__gte=first,
        request_id__lt=end,
        status=UsageRecord.Status.SUCCEEDED,
        is_estimated=False,
        charge_micro__gt=0,
    ).exclude(claim="")
    rows = (
        insured.order_by("model_id")
        .values("model_id")
        .annotate(
            calls=Count("request_id"),
            triggered=Count("request_id", filter=Q(due_micro__gt=0)),
            charged=Sum("charge_micro"),
            due=Sum("due_micro"),
            paid=Sum("compensated_micro"),
        )
    )
    return [
        Cost(
            row["model_id"],
            row["calls"],
            row["triggered"],
            Credits(int(row["charged"])),
            Credits(int(row["due"])),
            Credits(int(row["paid"])),
        )
        for row in rows
    ]


def total(of: Iterable[Cost]) -> Cost:
    summed = Cost(ALL_MODELS, 0, 0, NOTHING, NOTHING, NOTHING)
    for cost in of:
        summed = Cost(
            ALL_MODELS,
            summed.insured + cost.insured,
            summed.triggered + cost.triggered,
            summed.charged + cost.charged,
            summed.due + cost.due,
            summed.paid + cost.paid,
        )
    return summed


def cost_facts(cost: Cost) -> dict[str, object]:
    """As `insurance_report --json` prints it; amounts are credits."""
    return {
        "model": cost.model_id,
        "insured": cost.insured,
        "triggered": cost.triggered,
        "credits_charged": json_number(cost.charged.micro),
        "credits_due": json_number(cost.due.micro),
        "credits_paid": json_number(cost.paid.micro),
        "percent_of_charges": cost.percent,
    }
