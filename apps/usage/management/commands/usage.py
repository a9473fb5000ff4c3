"""`usage ACCOUNT [--last N]`: the newest usage records."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.cli import OperatorCommand, Output
from apps.accounts.mistakes import check_range
from apps.accounts.selectors import find_account
from apps.core.errors import rfc3339
from apps.core.ids import show_request_id
from apps.core.money import Credits
from apps.usage.models import UsageRecord
from apps.usage.selectors import newest_records, record_facts

DEFAULT_LAST = 20
MOST_LAST = 10_000


class Command(OperatorCommand):
    help = "Show an account's newest usage records."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("account", metavar="ACCOUNT")
        parser.add_argument("--last", type=int, default=DEFAULT_LAST, metavar="N")

    def run(self, options: dict[str, Any]) -> Output:
        check_range(options["last"], "--last", most=MOST_LAST)
        records = newest_records(find_account(options["account"]).id, last=options["last"])
        return Output(
            data={"records": [record_facts(record) for record in records]},
            text="\n".join(map(_line, records)) or "no usage yet",
        )


def _line(record: UsageRecord) -> str:
    paid = f"  {Credits(record.compensated_micro)} paid back" if record.compensated_micro else ""
    return (
        f"{rfc3339(record.received_at)}  {show_request_id(record.request_id)}  {record.model_id}  {record.status}"
        f"  {record.input_tokens} in  {record.output_tokens} out  {Credits(record.charge_micro)} credits"
        f"  {record.latency_ms} ms{paid}"
    )
