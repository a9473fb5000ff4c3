"""`balance ACCOUNT`: what the account has."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.cli import OperatorCommand, Output
from apps.accounts.selectors import find_account
from apps.core.money import json_number
from apps.ledger.selectors import balance_of


class Command(OperatorCommand):
    help = "Show an account's balance, what open calls hold of it, and what is available."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("account", metavar="ACCOUNT")

    def run(self, options: dict[str, Any]) -> Output:
        facts = balance_of(find_account(options["account"]).id)
        return Output(
            data={
                "balance": json_number(facts.balance.micro),
                "held": json_number(facts.held.micro),
                "available": json_number(facts.available.micro),
            },
            text=f"balance {facts.balance}, held {facts.held}, available {facts.available} credits",
        )
