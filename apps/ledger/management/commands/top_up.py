"""`top_up ACCOUNT CREDITS --reference REF`: credits in, once per reference."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import Output
from apps.accounts.selectors import find_account
from apps.core.money import Credits
from apps.ledger import services
from apps.ledger.cli import MoneyCommand, movement_output, read_reference


class Command(MoneyCommand):
    help = "Add credits to an account; the same reference adds them once."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("account", metavar="ACCOUNT")
        parser.add_argument("credits", metavar="CREDITS")
        self.add_reference(parser, "What the money came with.")

    def run(self, options: dict[str, Any]) -> Output:
        account = find_account(options["account"])
        movement = services.top_up(
            account_id=account.id,
            amount=Credits.parse(options["credits"]),
            reference=read_reference(options),
            actor=COMMAND_LINE,
        )
        return movement_output(account.name, movement)
