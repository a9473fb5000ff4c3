"""Monthly partitions by request id: a UUIDv7 begins with its time, so a month is a range of ids.

PostgreSQL only. A default partition takes what no month is ready for, so that a late job loses nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from django.db import connection

from apps.core import clock
from apps.core.ids import time_bound

TABLES: Final = ("ledger_entry", "usage_usagerecord")
MONTHS_AHEAD: Final = 3


def make_partitions(now: datetime | None = None) -> list[str]:
    """Make this month's partition and the next three of each table; return the names made now."""
    if connection.vendor != "postgresql":
        return []
    month = (now or clock.now()).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    made = []
    for _ in range(MONTHS_AHEAD + 1):
        following = _next_month(month)
        for table in TABLES:
            name = f"{table}_{month:%Y_%m}"
            if not _exists(name):
                _make(table, name, month, following)
                made.append(name)
        month = following
    return made


def _next_month(month: datetime) -> datetime:
    return datetime(month.year + month.month // 12, month.month % 12 + 1, 1, tzinfo=UTC)


def _exists(name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [name])
        return cursor.fetchone()[0] is not None


def _make(table: str, name: str, begins_at: datetime, ends_at: datetime) -> None:
    """Names come from TABLES and a date, bounds from time_bound: nothing here is a caller's text."""
    low, high = (time_bound(int(edge.timestamp() * 1000)) for edge in (begins_at, ends_at))
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table} FOR VALUES FROM ('{low}') TO ('{high}')"
        )
