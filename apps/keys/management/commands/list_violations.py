"""`list_violations ACCOUNT`: its calls to CLI-only models that were not the CLI's."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.cli import OperatorCommand, Output, read_count
from apps.accounts.selectors import find_account
from apps.keys.cli.violations import violation_facts, violations_of

DEFAULT_LAST = 50


class Command(OperatorCommand):
    help = "Show an account's violations of CLI-only models, newest first."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("account", metavar="ACCOUNT")
        parser.add_argument("--last", metavar="N", default=str(DEFAULT_LAST), help="How many at most.")

    def run(self, options: dict[str, Any]) -> Output:
        last = read_count(options["last"]) or DEFAULT_LAST
        rows = violations_of(find_account(options["account"]).id, most=last)
        text = "\n".join(
            f"{row.id}  {row.created_at:%Y-%m-%d %H:%M:%S}  {row.key}  {row.model_id}  {row.verdict}, {row.consequence}"
            f"{', lifted' if row.lifted_at else ''}: {row.words}"
            for row in rows
        )
        return Output(data={"violations": [violation_facts(row) for row in rows]}, text=text or "no violations")
