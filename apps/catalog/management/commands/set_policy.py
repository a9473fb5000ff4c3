"""`set_policy MODEL`: the governor's and the insurance's figures for one model."""

from __future__ import annotations

from typing import Any, cast

from django.core.management.base import CommandParser

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import OperatorCommand, Output, lines, read_count
from apps.accounts.mistakes import Mistake
from apps.catalog import services
from apps.catalog.selectors import POLICY_FIGURES, policy_facts


class Command(OperatorCommand):
    help = "Change a model's capacity and insurance, or show them."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("model", metavar="MODEL")
        for figure in POLICY_FIGURES:
            parser.add_argument(f"--{figure.replace('_', '-')}", metavar="N")

    def run(self, options: dict[str, Any]) -> Output:
        figures: dict[str, int | None] = {}
        for figure in POLICY_FIGURES:
            if options[figure] is None:
                continue
            figures[figure] = read_count(options[figure])
            if figures[figure] is None and figure != "ipm":
                raise Mistake(f"{figure.replace('_', ' ')} must be a number: only ipm may be none")
        policy = services.set_policy(
            model_id=options["model"], actor=COMMAND_LINE, **cast(services.PolicyFigures, figures)
        )
        facts = policy_facts(policy)
        return Output(data=facts, text=lines(facts))
