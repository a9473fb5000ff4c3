"""`grant ACCOUNT CREDITS --reference REF`: credits that nobody paid for."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import Output, read_instant
from apps.accounts.selectors import find_account
from apps.core.money import Credits
from apps.ledger import services
from apps.ledger.cli import MoneyCommand, movement_output, read_reference


class Command(MoneyCommand):
    help = "Give an account credits that nobody paid for; they are used before paid ones."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("account", metavar="ACCOUNT")
        parser.add_argument("credits", metavar="CREDITS")
        self.add_reference(parser, "What they are given for; the same reference gives them once.")
        parser.add_argument("--expires", metavar="ISO", help="When what is left of them is gone; without it, never.")
        parser.add_argument(
            "--priority", type=int, default=0, metavar="N", help="Grants with a lower one are used first (0 to 100)."
        )

    def run(self, options: dict[str, Any]) -> Output:
        account = find_account(options["account"])
        movement = services.grant(
            account_id=account.id,
            amount=Credits.parse(options["credits"]),
            reference=read_reference(options),
            actor=COMMAND_LINE,
            expires_at=None if options["expires"] is None else read_instant(options["expires"]),
            priority=options["priority"],
        )
        return movement_output(account.name, movement)
