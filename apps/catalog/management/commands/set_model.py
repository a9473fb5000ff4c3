"""`set_model MODEL --enable|--disable`: whether a model is offered, and how a CLI-only one is kept to the CLI."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import OperatorCommand, Output, lines, read_names
from apps.catalog import services
from apps.catalog.selectors import model_facts


class Command(OperatorCommand):
    help = "Change what is decided about a model, or show it."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("model", metavar="MODEL")
        choice = parser.add_mutually_exclusive_group()
        choice.add_argument("--enable", action="store_true", help="Offer it.")
        choice.add_argument("--disable", action="store_true", help="Stop offering it.")
        parser.add_argument(
            "--cli-enforcement",
            metavar="enforce|record",
            help="Of a CLI-only model: block what is not the CLI's, or only record it.",
        )
        parser.add_argument(
            "--cli-entrypoints",
            metavar="a,b",
            help="Entrypoints that may call a CLI-only model beside cli and sdk-cli, or none.",
        )

    def run(self, options: dict[str, Any]) -> Output:
        changes: services.ModelChanges = {}
        if options["enable"] or options["disable"]:
            changes["is_enabled"] = options["enable"]
        if options["cli_enforcement"] is not None:
            changes["cli_enforcement"] = options["cli_enforcement"]
        if options["cli_entrypoints"] is not None:
            changes["cli_entrypoints"] = read_names(options["cli_entrypoints"])
        model = services.set_model(model_id=options["model"], actor=COMMAND_LINE, **changes)
        facts = model_facts(model)
        return Output(data=facts, text=lines(facts))
