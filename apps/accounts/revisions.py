"""How a change in the database reaches every process within a second, with one tiny query per poll.

A writer calls `bump(topic)` inside its transaction and stamps each row it writes with the result. The row of `Revision`
stays locked until that transaction ends, so revisions become visible in order: a reader that asks for rows with a
revision above the last it saw can never miss one that commits later.
"""

from __future__ import annotations

from typing import Final

from django.db import connection, transaction
from django.db.models import F

from apps.accounts.models import Revision

ACCOUNTS: Final = "accounts"
KEYS: Final = "keys"
CATALOG: Final = "catalog"
ROUTES: Final = "routes"


def bump(topic: str) -> int:
    """Return the next revision of `topic`, holding its row until the surrounding transaction ends."""
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("bump() needs a transaction around it")
    if not Revision.objects.filter(topic=topic).update(value=F("value") + 1):
        Revision.objects.get_or_create(topic=topic)
        Revision.objects.filter(topic=topic).update(value=F("value") + 1)
    return Revision.objects.values_list("value", flat=True).get(topic=topic)


def current() -> dict[str, int]:
    """Every topic's revision: what a process polls."""
    return dict(Revision.objects.values_list("topic", "value"))
