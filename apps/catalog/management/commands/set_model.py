"""`set_model MODEL --enable|--disable`: whether a model is offered."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import OperatorCommand, Output
from apps.catalog import services
from apps.catalog.selectors import model_facts


class Command(OperatorCommand):
    help = "Offer a model, or stop offering it."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("model", metavar="MODEL")
        choice = parser.add_mutually_exclusive_group(required=True)
        choice.add_argument("--enable", action="store_true")
        choice.add_argument("--disable", action="store_true")

    def run(self, options: dict[str, Any]) -> Output:
        model = services.set_model(model_id=options["model"], is_enabled=options["enable"], actor=COMMAND_LINE)
        return Output(data=model_facts(model), text=f"{model.id} is {'enabled' if model.is_enabled else 'disabled'}")
