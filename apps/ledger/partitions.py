"""Monthly partitions by request id: a UUIDv7 begins with its time, so a month is a range of ids.

PostgreSQL only. A default partition takes what no month is ready for, so that a late job loses nothing.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from django.db import connection, transaction

from apps.core import clock
from apps.core.ids import time_bound

logger = logging.getLogger(__name__)

TABLES: Final = {"ledger_entry": "operation_id", "usage_usagerecord": "request_id"}
"""Partitioned tables and the column that they are partitioned by."""
MAKE_PARTITION: Final = "hypereal_make_partition(text, text, uuid, uuid)"
"""Runs as the tables' owner: who serves may not make tables."""
MONTHS_AHEAD: Final = 3
LOCK: Final = 7_011_960
"""The advisory lock under which partitions are made: two processes may come to it at once."""
LOCK_TIMEOUT: Final = "5s"
"""Who waits to attach a partition makes readers of the default one wait too: rather fail, and try the next day."""


def make_partitions(now: datetime | None = None) -> list[str]:
    """Make this month's partition and the next three of each table; return the names made now.

    A month of which the default partition holds rows already stays there: moving them would stop the ledger for it.
    """
    if connection.vendor != "postgresql":
        return []
    month = (now or clock.now()).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    made = []
    for _ in range(MONTHS_AHEAD + 1):
        following = _next_month(month)
        for table, column in TABLES.items():
            name = f"{table}_{month:%Y_%m}"
            if not _exists(name) and _make(table, column, name, month, following):
                made.append(name)
        month = following
    return made


def _next_month(month: datetime) -> datetime:
    return datetime(month.year + month.month // 12, month.month % 12 + 1, 1, tzinfo=UTC)


def _exists(name: str) -> bool:
    return _fetch("SELECT to_regclass(%s)", [name]) is not None


def _make(table: str, column: str, name: str, begins_at: datetime, ends_at: datetime) -> bool:
    """Make one partition beside its table, then attach it: whoever writes entries meanwhile does not wait.

    Names come from TABLES and a date, bounds from time_bound: nothing here is a caller's text.
    """
    low, high = (time_bound(int(edge.timestamp() * 1000)) for edge in (begins_at, ends_at))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        if _exists(name):
            return False
        if _is_in_default(table, column, low, high):
            logger.warning("%s_default holds rows of %s already: that month stays there", table, name)
            return False
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        cursor.execute("SELECT hypereal_make_partition(%s, %s, %s, %s)", [table, name, low, high])
    return True


def _is_in_default(table: str, column: str, low: uuid.UUID, high: uuid.UUID) -> bool:
    statement = f"SELECT EXISTS (SELECT 1 FROM {table}_default WHERE {column} >= %s AND {column} < %s)"  # noqa: S608
    return bool(_fetch(statement, [low, high]))


def _fetch(statement: str, parameters: Sequence[str | uuid.UUID]) -> object:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()[0]
