"""`alerts`: what an operator should see to; `--resolve ID` closes one."""

from __future__ import annotations

import uuid
from typing import Any

from django.core.management.base import CommandParser

from apps.accounts import alerts
from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import OperatorCommand, Output
from apps.accounts.mistakes import Mistake
from apps.accounts.models import OperatorAlert
from apps.core.errors import rfc3339


class Command(OperatorCommand):
    help = "List what an operator should see to, or resolve one of it."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("--resolve", metavar="ALERT_ID", help="Close this one: what comes back opens another.")

    def run(self, options: dict[str, Any]) -> Output:
        if options["resolve"] is not None:
            alerts.resolve(alert_id=_read_id(options["resolve"]), actor=COMMAND_LINE)
        rows = alerts.open_alerts()
        text = "\n".join(
            f"{row.id}  {rfc3339(row.last_seen_at)}  {row.times:>6} x  {row.kind} ({row.subject}): {row.message}"
            for row in rows
        )
        return Output(data={"alerts": [_facts(row) for row in rows]}, text=text or "nothing to see to")


def _read_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise Mistake(f"no alert with the id '{text}'") from None


def _facts(row: OperatorAlert) -> dict[str, object]:
    return {
        "alert_id": str(row.id),
        "kind": row.kind,
        "subject": row.subject,
        "message": row.message,
        "times": row.times,
        "first_seen_at": rfc3339(row.first_seen_at),
        "last_seen_at": rfc3339(row.last_seen_at),
    }
