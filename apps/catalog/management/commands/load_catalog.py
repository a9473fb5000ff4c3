"""`load_catalog [FILE]`: models and prices from a catalog file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.cli import OperatorCommand, Output
from apps.catalog import services


class Command(OperatorCommand):
    help = "Create or update models and prices from a catalog file; a changed price becomes a new version."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file",
            nargs="?",
            type=Path,
            default=services.SHIPPED_CATALOG,
            metavar="FILE",
            help="The shipped one, if absent.",
        )

    def run(self, options: dict[str, Any]) -> Output:
        result = services.load_catalog(options["file"])
        return Output(
            data=asdict(result),
            text=f"{result.models} models: {result.created} created, {result.repriced} repriced",
        )
