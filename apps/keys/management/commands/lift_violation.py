"""`lift_violation ID --why S`: takes a strike back, and the suspension that came of it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import OperatorCommand, Output
from apps.keys.cli.violations import find_violation, lift_violation


class Command(OperatorCommand):
    help = "Lift a violation; a key that it suspended calls again."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("violation", metavar="ID")
        parser.add_argument("--why", required=True, metavar="S", help="Kept in the audit log.")

    def run(self, options: dict[str, Any]) -> Output:
        found = find_violation(options["violation"])
        lift_violation(violation_id=found.id, why=options["why"], actor=COMMAND_LINE)
        found.key.refresh_from_db()
        return Output(
            data={"violation_id": str(found.id), "key_id": str(found.key_id), "status": found.key.status},
            text=f"violation {found.id} is lifted; {found.key} is {found.key.status}",
        )
