"""What providers keep for our accounts: whose it is, on which route, until when. Ids are stored as digests only."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q

from apps.dialects.protocol import State
from apps.upstreams.models import StoredState

KEPT_FOR: Final = timedelta(days=30)
"""As long as providers keep a reply that they were asked to store."""
MAX_ITEMS: Final = 100
"""Of one reply: more of them cannot be referred to."""
MAX_FORGOTTEN: Final = 10_000
"""Rows that one sweep deletes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that an account made, and where it is."""

    route_key: str
    tokens: int
    """What a request that builds on it may have to read again, at most."""


def keep(account_id: uuid.UUID, states: Sequence[State], *, route_key: str, tokens: int, now: datetime) -> None:
    """Write down what a provider keeps of a reply to this account."""
    rows = [
        StoredState(
            account_id=account_id,
            kind=state.kind,
            digest=digest(state.id),
            route_key=route_key,
            tokens=tokens,
            expires_at=now + KEPT_FOR,
        )
        for state in states[:MAX_ITEMS]
    ]
    StoredState.objects.bulk_create(rows, ignore_conflicts=True)


def find(account_id: uuid.UUID, states: Iterable[State], *, now: datetime) -> Mapping[State, Kept]:
    """Those of the states that this account made and that are still kept."""
    wanted = {(state.kind, digest(state.id)): state for state in states}
    digests: dict[str, list[str]] = {}
    for kind, found in wanted:
        digests.setdefault(kind, []).append(found)
    of_kinds = Q()
    for kind, some in digests.items():
        of_kinds |= Q(kind=kind, digest__in=some)
    rows = StoredState.objects.filter(of_kinds, account_id=account_id, expires_at__gt=now)
    return {wanted[row.kind, row.digest]: Kept(row.route_key, row.tokens) for row in rows}


def forget_expired(now: datetime) -> int:
    """Delete what providers have forgotten by now; return how many."""
    ids = list(StoredState.objects.filter(expires_at__lte=now).values_list("id", flat=True)[:MAX_FORGOTTEN])
    deleted, _ = StoredState.objects.filter(id__in=ids).delete()
    return deleted


def digest(state_id: str) -> str:
    return hashlib.sha256(state_id.encode()).hexdigest()
