"""`explain REQUEST_ID`: why a call was served, refused, or charged what it was."""

from __future__ import annotations

from typing import Any

import msgspec
from django.core.management.base import CommandParser

from apps.accounts.cli import OperatorCommand, Output, encoder
from apps.accounts.mistakes import Mistake
from apps.core.ids import parse_request_id
from apps.ledger import selectors


class Command(OperatorCommand):
    help = "Show a request's record with its holds, entries, limits, route and timings."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("request", metavar="REQUEST_ID")

    def run(self, options: dict[str, Any]) -> Output:
        try:
            facts = selectors.explain(parse_request_id(options["request"]))
        except ValueError:
            raise Mistake(f"not a request id: {options['request']!r}") from None
        except LookupError:
            raise Mistake(f"no request with the id {options['request']!r}") from None
        return Output(data=facts, text=msgspec.json.format(encoder.encode(facts), indent=2).decode())
