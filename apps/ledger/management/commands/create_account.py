"""`create_account NAME [--credits N]`: an account and its balance."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.db import transaction

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import OperatorCommand, Output
from apps.accounts.mistakes import Mistake
from apps.accounts.services import create_account
from apps.core.money import Credits, json_number
from apps.ledger import services
from apps.ledger.selectors import balance_of

OPENING_REFERENCE = "opening credits"


class Command(OperatorCommand):
    mistakes = (*OperatorCommand.mistakes, services.BadMovement)
    help = "Create an account, with an opening top-up if asked."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--credits", metavar="N", help="Credits to begin with.")

    def run(self, options: dict[str, Any]) -> Output:
        opening = Credits.parse(options["credits"]) if options["credits"] is not None else Credits(0)
        if opening.micro < 0:
            raise Mistake("the opening credits must not be negative")
        with transaction.atomic():
            account = create_account(name=options["name"], actor=COMMAND_LINE)
            services.open_account(account_id=account.id)
            if opening:
                services.top_up(account_id=account.id, amount=opening, reference=OPENING_REFERENCE, actor=COMMAND_LINE)
        balance = balance_of(account.id).balance
        return Output(
            data={"account_id": str(account.id), "name": account.name, "balance": json_number(balance.micro)},
            text=f"account {account.name} ({account.id}) with {balance} credits",
        )
