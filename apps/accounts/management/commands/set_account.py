"""`set_account ACCOUNT`: the account's own guards."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts import services
from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import OperatorCommand, Output, lines, read_limit
from apps.accounts.models import Account
from apps.accounts.selectors import account_settings, find_account


class Command(OperatorCommand):
    help = "Change an account's limits, or show them."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("account", metavar="ACCOUNT")
        parser.add_argument("--rpm", type=int, metavar="N", help="Requests per minute of all its keys.")
        parser.add_argument("--daily", metavar="C", help="Credits per day (UTC), or none.")
        parser.add_argument(
            "--absorbed-cap", metavar="C", help="Credits that the house pays for its calls in a day (UTC), or none."
        )
        parser.add_argument(
            "--insurance-daily-cap", metavar="C", help="Credits that insurance pays to it in a day (UTC), or none."
        )
        parser.add_argument("--cli-violation", choices=Account.CliViolation.values)
        parser.add_argument("--retention-days", type=int, metavar="N")
        parser.add_argument(
            "--keep-replies", choices=("on", "off"), help="Give repeats (Idempotency-Key) the reply too, for a day."
        )
        parser.add_argument("--status", choices=Account.Status.values, help="A frozen account's calls are refused.")

    def run(self, options: dict[str, Any]) -> Output:
        account = find_account(options["account"])
        changes: services.AccountChanges = {}
        if options["rpm"] is not None:
            changes["rpm_limit"] = options["rpm"]
        if options["daily"] is not None:
            changes["daily_budget"] = read_limit(options["daily"])
        if options["absorbed_cap"] is not None:
            changes["absorbed_cap"] = read_limit(options["absorbed_cap"])
        if options["insurance_daily_cap"] is not None:
            changes["insurance_cap"] = read_limit(options["insurance_daily_cap"])
        if options["cli_violation"] is not None:
            changes["cli_violation"] = options["cli_violation"]
        if options["retention_days"] is not None:
            changes["retention_days"] = options["retention_days"]
        if options["keep_replies"] is not None:
            changes["keep_replies"] = options["keep_replies"] == "on"
        if options["status"] is not None:
            changes["status"] = options["status"]
        settings = account_settings(services.set_account(account_id=account.id, actor=COMMAND_LINE, **changes))
        return Output(data=settings, text=lines(settings))
