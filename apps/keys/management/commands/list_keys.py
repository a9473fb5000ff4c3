"""`list_keys ACCOUNT`: an account's keys and what each may do."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.cli import OperatorCommand, Output
from apps.accounts.selectors import find_account
from apps.keys.selectors import key_settings, keys_of


class Command(OperatorCommand):
    help = "Show the keys of an account."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("account", metavar="ACCOUNT")

    def run(self, options: dict[str, Any]) -> Output:
        keys = keys_of(find_account(options["account"]).id)
        return Output(
            data={"keys": [key_settings(key) for key in keys]},
            text="\n".join(f"{key.id}  {key}  {key.status}" for key in keys) or "no keys",
        )
