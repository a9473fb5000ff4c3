"""`refund ACCOUNT REQUEST_ID --reference REF`: credits back for a call."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import Output
from apps.accounts.mistakes import Mistake
from apps.accounts.selectors import find_account
from apps.core.ids import parse_request_id
from apps.core.money import Credits, json_number
from apps.ledger import services
from apps.ledger.cli import MoneyCommand, movement_output, read_reason, read_reference
from apps.ledger.selectors import refundable


class Command(MoneyCommand):
    help = "Give credits back for a call: at most what it was charged, less what came back before."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("account", metavar="ACCOUNT")
        parser.add_argument("request", metavar="REQUEST_ID")
        parser.add_argument("--credits", metavar="C", help="How much; without it, all that is left of the charge.")
        parser.add_argument("--reason", metavar="S", help="Kept with the entry.")
        self.add_reference(parser, "The same reference refunds once.")

    def run(self, options: dict[str, Any]) -> Output:
        account = find_account(options["account"])
        try:
            request_id = parse_request_id(options["request"])
        except ValueError:
            raise Mistake(f"not a request id: {options['request']!r}") from None
        movement = services.refund(
            account_id=account.id,
            request_id=request_id,
            amount=None if options["credits"] is None else Credits.parse(options["credits"]),
            reference=read_reference(options),
            reason=read_reason(options),
            actor=COMMAND_LINE,
        )
        return movement_output(
            account.name,
            movement,
            refunded=json_number(movement.amount.micro),
            refundable=json_number(refundable(account.id, request_id).micro),
        )
