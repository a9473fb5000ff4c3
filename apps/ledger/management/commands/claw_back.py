"""`claw_back ACCOUNT CREDITS --reference REF`: a payment was reversed."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import Output
from apps.accounts.selectors import find_account
from apps.core.money import Credits, json_number
from apps.ledger import services
from apps.ledger.cli import MoneyCommand, movement_output, read_reason, read_reference


class Command(MoneyCommand):
    help = "Take back the credits of a reversed payment; what is not there any more is owed, and freezes the account."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("account", metavar="ACCOUNT")
        parser.add_argument("credits", metavar="CREDITS")
        parser.add_argument("--reason", metavar="S", help="Kept with the entry.")
        self.add_reference(parser, "The reversal; the same reference takes back once.")

    def run(self, options: dict[str, Any]) -> Output:
        account = find_account(options["account"])
        movement = services.claw_back(
            account_id=account.id,
            amount=Credits.parse(options["credits"]),
            reference=read_reference(options),
            reason=read_reason(options),
            actor=COMMAND_LINE,
        )
        return movement_output(
            account.name,
            movement,
            taken=json_number(movement.amount.micro),
            owed=json_number(movement.owed.micro),
        )
