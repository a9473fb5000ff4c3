"""`add_member ACCOUNT EMAIL --role R`: a person's part in an account."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts import services
from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import OperatorCommand, Output
from apps.accounts.models import Member
from apps.accounts.selectors import find_account
from apps.core.money import json_number
from apps.ledger.selectors import balance_of


class Command(OperatorCommand):
    help = "Make a person a member of an account, or give a member another role."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("account", metavar="ACCOUNT")
        parser.add_argument("email", metavar="EMAIL")
        parser.add_argument("--role", required=True, choices=Member.Role.values)

    def run(self, options: dict[str, Any]) -> Output:
        account = find_account(options["account"])
        member = services.add_member(
            account_id=account.id, email=options["email"], role=options["role"], actor=COMMAND_LINE
        )
        return Output(
            data={
                "account_id": str(account.id),
                "name": account.name,
                "balance": json_number(balance_of(account.id).balance.micro),
                "email": member.user.email,
                "role": member.role,
            },
            text=f"{member.user.email} is {member.role} of {account.name}",
        )
