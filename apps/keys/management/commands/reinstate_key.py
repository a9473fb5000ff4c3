"""`reinstate_key KEY_ID --why S`: lets a suspended key call again."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import OperatorCommand, Output
from apps.keys import services
from apps.keys.selectors import find_key


class Command(OperatorCommand):
    help = "Reinstate a suspended key."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("key", metavar="KEY_ID")
        parser.add_argument("--why", required=True, metavar="S", help="Kept in the audit log.")

    def run(self, options: dict[str, Any]) -> Output:
        key = find_key(options["key"])
        key = services.reinstate_key(key_id=key.id, why=options["why"], actor=COMMAND_LINE)
        return Output(data={"key_id": str(key.id), "status": key.status}, text=f"{key} is {key.status}")
