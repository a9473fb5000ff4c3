"""`insurance_report [--month YYYY-MM]`: what insurance cost the house, by model."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.cli import OperatorCommand, Output
from apps.core import clock
from apps.insurance.selectors import Cost, cost_facts, costs, total
from apps.ledger import statements


class Command(OperatorCommand):
    help = "Show what insurance cost in a month, by model."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("--month", metavar="YYYY-MM", help="Without it: this month (UTC), so far.")

    def run(self, options: dict[str, Any]) -> Output:
        month = options["month"] or f"{clock.now().astimezone(UTC):%Y-%m}"
        found = costs(statements.month(month))
        summed = total(found)
        return Output(
            data={
                "month": month,
                "models": [cost_facts(cost) for cost in found],
                "total": {name: fact for name, fact in cost_facts(summed).items() if name != "model"},
            },
            text="\n".join([month, *map(_line, [*found, summed])]),
        )


def _line(cost: Cost) -> str:
    return (
        f"  {cost.model_id}: {cost.triggered} of {cost.insured} calls triggered, {cost.paid} of {cost.due} credits"
        f" paid, {cost.percent} % of {cost.charged} charged"
    )
