"""`correct ACCOUNT CREDITS --reason S --reference REF`: repair a mistake with an entry of its own."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import Output
from apps.accounts.selectors import find_account
from apps.core.money import Credits
from apps.ledger import services
from apps.ledger.cli import MoneyCommand, movement_output, read_reason, read_reference


class Command(MoneyCommand):
    help = "Correct a balance; a negative amount takes from the account."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("account", metavar="ACCOUNT")
        parser.add_argument("credits", metavar="CREDITS")
        parser.add_argument("--reason", required=True, metavar="S", help="Kept with the entry.")
        self.add_reference(parser, "The same reference corrects once.")

    def run(self, options: dict[str, Any]) -> Output:
        account = find_account(options["account"])
        movement = services.correct(
            account_id=account.id,
            amount=Credits.parse(options["credits"]),
            reference=read_reference(options),
            reason=read_reason(options, is_needed=True),
            actor=COMMAND_LINE,
        )
        return movement_output(account.name, movement)
