"""`issue_key ACCOUNT`: a fresh key, printed once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import OperatorCommand, Output
from apps.accounts.selectors import find_account
from apps.keys import services
from apps.keys.options import add_key_options, read_key_options


class Command(OperatorCommand):
    help = "Issue an API key and print it; it is shown only now."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("account", metavar="ACCOUNT")
        add_key_options(parser)

    def run(self, options: dict[str, Any]) -> Output:
        account = find_account(options["account"])
        issued = services.issue_key(account_id=account.id, actor=COMMAND_LINE, **read_key_options(options))
        return Output(
            data={"key": issued.key, "key_id": str(issued.row.id), "account_id": str(account.id)},
            text=f"{issued.key}\nkey id {issued.row.id} of {account.name}; keep the key, it is not shown again",
        )
