"""Who used which device and session of the CLI: what tells a pool of accounts, or a replay, from one person at work.

Only calls that look official come here, and only at the first sight of a (key, device, session): the hot path remembers
the rest (gateway/vet.py). A sighting belongs to whoever was there first, until it expires.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from apps.keys.cli.verdict import Finding, Sign
from apps.keys.models import ApiKey, CliSighting
from apps.keys.rules import keyed_digest

MAX_DEVICES: Final = 3
"""Of one key within DEVICE_LIFE."""
DEVICE_LIFE: Final = timedelta(hours=24)
SESSION_LIFE: Final = timedelta(days=30)
LIVES: Final = {
    CliSighting.Kind.DEVICE: DEVICE_LIFE,
    CliSighting.Kind.KEY_DEVICE: DEVICE_LIFE,
    CliSighting.Kind.SESSION: SESSION_LIFE,
}
MAX_FORGOTTEN: Final = 10_000
"""Rows that one sweep deletes."""

Kind = CliSighting.Kind


@dataclass(frozen=True, slots=True)
class Seen:
    """One call's ids, as digests."""

    key_id: uuid.UUID
    account_id: uuid.UUID
    device: str
    key_device: str
    session: str


class _Unlike(Exception):
    """The sighting contradicts an earlier one: nothing of it is kept."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.words)
        self.finding = finding


def digest_of(kind: str, *ids: str, pepper: str) -> str:
    """A keyed digest of an id; of each kind another, so that no two can be compared."""
    return keyed_digest(f"cli-{kind}:{':'.join(ids)}", pepper=pepper)


def digests(*, key_id: uuid.UUID, account_id: uuid.UUID, device: str, session: str, pepper: str) -> Seen:
    return Seen(
        key_id=key_id,
        account_id=account_id,
        device=digest_of(Kind.DEVICE, device, pepper=pepper),
        key_device=digest_of(Kind.KEY_DEVICE, key_id.hex, device, pepper=pepper),
        session=digest_of(Kind.SESSION, session, pepper=pepper),
    )


def see(seen: Seen, *, now: datetime) -> Finding | None:
    """Keep a sighting; where it contradicts what was seen before, say how, and keep nothing.

    Safe from any number of processes: the digests are unique, and a key's devices are counted under its row's lock.
    """
    try:
        with transaction.atomic():
            _keep(seen, now)
    except _Unlike as unlike:
        return unlike.finding
    return None


def _keep(seen: Seen, now: datetime) -> None:
    ApiKey.objects.select_for_update().get(id=seen.key_id)
    fresh = [
        CliSighting(
            digest=digest, kind=kind, account_id=seen.account_id, key_id=seen.key_id, device=seen.device, seen_at=now
        )
        # In one order in every process, so that two calls never wait on each other.
        for digest, kind in sorted(_kinds(seen).items())
    ]
    CliSighting.objects.bulk_create(fresh, ignore_conflicts=True)
    ordered = CliSighting.objects.select_for_update().filter(digest__in=_kinds(seen)).order_by("digest")
    found = {Kind(row.kind): row for row in ordered}
    finding = _contradiction(seen, found, now)
    if finding is None and _devices(seen.key_id, now) > MAX_DEVICES:
        words = f"more than {MAX_DEVICES} devices used this API key within 24 hours"
        finding = Finding(Sign.DEVICES, words)
    if finding is not None:
        raise _Unlike(finding)
    CliSighting.objects.filter(digest__in=_kinds(seen)).update(
        account_id=seen.account_id, key_id=seen.key_id, device=seen.device, seen_at=now
    )


def _kinds(seen: Seen) -> dict[str, Kind]:
    return {seen.device: Kind.DEVICE, seen.key_device: Kind.KEY_DEVICE, seen.session: Kind.SESSION}


def _contradiction(seen: Seen, found: Mapping[Kind, CliSighting], now: datetime) -> Finding | None:
    device, session = found.get(Kind.DEVICE), found.get(Kind.SESSION)
    if device is not None and device.account_id != seen.account_id and now - device.seen_at < DEVICE_LIFE:
        return Finding(Sign.DEVICE_ACCOUNT, "its device was used under another account within 24 hours")
    if session is None or now - session.seen_at >= SESSION_LIFE:
        return None
    if session.account_id != seen.account_id:
        return Finding(Sign.SESSION_ACCOUNT, "its session was used under another account")
    if session.key_id != seen.key_id:
        return Finding(Sign.REPLAY, "its session was used with another API key before")
    if session.device != seen.device:
        return Finding(Sign.REPLAY, "its session was used on another device before")
    return None


def _devices(key_id: uuid.UUID, now: datetime) -> int:
    recent = CliSighting.objects.filter(key_id=key_id, kind=Kind.KEY_DEVICE, seen_at__gt=now - DEVICE_LIFE)
    return recent.count()


def forget_expired(now: datetime) -> int:
    """Delete sightings that say nothing any more; return how many."""
    forgotten = 0
    for kind, life in LIVES.items():
        expired = CliSighting.objects.filter(kind=kind, seen_at__lte=now - life)
        digests = list(expired.values_list("digest", flat=True)[:MAX_FORGOTTEN])
        deleted, _ = CliSighting.objects.filter(digest__in=digests).delete()
        forgotten += deleted
    return forgotten
