"""`statement ACCOUNT [--month YYYY-MM | --from ISO --to ISO]`: what an account began with, every entry, its end."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from django.core.management.base import CommandError, CommandParser

from apps.accounts.cli import OperatorCommand, Output, read_instant
from apps.accounts.mistakes import Mistake
from apps.accounts.selectors import find_account
from apps.core import clock
from apps.ledger import statements
from apps.ledger.statements import KindTotal, Period, Statement


class Command(OperatorCommand):
    help = "Show an account's statement: opening balance, entries, totals by kind and by model, closing balance."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("account", metavar="ACCOUNT")
        parser.add_argument("--month", metavar="YYYY-MM", help="Without a period: this month, so far.")
        parser.add_argument("--from", dest="starts_at", metavar="ISO", help="The first instant (UTC).")
        parser.add_argument("--to", dest="ends_at", metavar="ISO", help="The first instant that is not part of it.")
        parser.add_argument("--csv", action="store_true", help="The entries as CSV.")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["csv"]:
            super().handle(*args, **options)
            return
        try:
            _, statement = _read(options)
        except self.mistakes as mistake:
            raise CommandError(str(mistake)) from None
        for rows in statements.csv_rows(statement):
            self.stdout.write(rows, ending="")

    def run(self, options: dict[str, Any]) -> Output:
        name, statement = _read(options)
        facts = statements.statement_facts(statement)
        entries = (statements.line_facts(line) for line in statements.statement_lines(statement))
        return Output(
            data={"name": name, **facts, "entries": list(entries) if options["as_json"] else []},
            text="\n".join(_lines(name, statement)),
        )


def _read(options: dict[str, Any]) -> tuple[str, Statement]:
    """Raises: Mistake."""
    account = find_account(options["account"])
    return account.name, statements.make_statement(account.id, _period(options))


def _period(options: dict[str, Any]) -> Period:
    starts_at, ends_at = options["starts_at"], options["ends_at"]
    if options["month"] is not None and (starts_at or ends_at):
        raise Mistake("give a month, or --from and --to, not both")
    if bool(starts_at) != bool(ends_at):
        raise Mistake("--from and --to go together")
    if starts_at:
        first, last = read_instant(starts_at), read_instant(ends_at)
        if first is None or last is None:
            raise Mistake("--from and --to are instants")
        return statements.between(first, last)
    return statements.month(options["month"] or f"{clock.now().astimezone(UTC):%Y-%m}")


def _lines(name: str, statement: Statement) -> list[str]:
    """For people: a line per total; the entries are in the CSV."""
    period = statement.period
    return [
        f"{name}, {period.starts_at:%Y-%m-%d %H:%M} to {period.ends_at:%Y-%m-%d %H:%M} UTC",
        f"opening balance: {statement.opening} credits",
        *(_total_line(total) for total in statement.totals),
        f"closing balance: {statement.closing} credits",
        *(
            f"  {model.model_id or 'no longer logged'}: {model.credits} credits for {model.calls} calls"
            for model in statement.models
        ),
    ]


def _total_line(total: KindTotal) -> str:
    beside = f" ({total.beside} beside the balance)" if total.beside else ""
    return f"  {total.kind}: {total.credits} in {total.entries}{beside}"
