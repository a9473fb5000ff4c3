"""`top_up ACCOUNT CREDITS --reference REF`: credits in, once per reference."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import OperatorCommand, Output
from apps.accounts.mistakes import clean_line
from apps.accounts.selectors import find_account
from apps.core.money import Credits, json_number
from apps.ledger import services


class Command(OperatorCommand):
    mistakes = (*OperatorCommand.mistakes, services.BadMovement)
    help = "Add credits to an account; the same reference adds them once."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("account", metavar="ACCOUNT")
        parser.add_argument("credits", metavar="CREDITS")
        parser.add_argument("--reference", required=True, metavar="REF", help="What the money came with.")

    def run(self, options: dict[str, Any]) -> Output:
        account = find_account(options["account"])
        amount = Credits.parse(options["credits"])
        reference = clean_line(options["reference"], "the reference", most=services.MAX_REFERENCE_LENGTH)
        movement = services.top_up(account_id=account.id, amount=amount, reference=reference, actor=COMMAND_LINE)
        return Output(
            data={
                "entry_id": str(movement.entry_id),
                "balance_before": json_number(movement.balance_before.micro),
                "balance_after": json_number(movement.balance_after.micro),
                "repeated": movement.repeated,
            },
            text=f"{account.name}: {movement.balance_before} -> {movement.balance_after} credits"
            + (" (repeated: nothing was added again)" if movement.repeated else ""),
        )
