"""Keys as the hot path sees them, by digest. The key itself is nowhere."""

from __future__ import annotations

import ipaddress

from apps.accounts import revisions
from apps.keys.models import ApiKey
from apps.keys.rules import KeySnapshot, ModelLimitSnapshot


class KeyCache:
    """All keys of the installation in memory: about a kilobyte each, and no look-up for an unknown one."""

    topic = revisions.KEYS
    is_due = False

    def __init__(self) -> None:
        self.revision = -1
        self._by_digest: dict[str, KeySnapshot] = {}

    def get(self, digest: str) -> KeySnapshot | None:
        return self._by_digest.get(digest)

    def load(self, revision: int) -> None:
        rows = ApiKey.objects.filter(revision__gt=self.revision).prefetch_related("model_limits")
        self._by_digest = {**self._by_digest, **{row.digest: _snapshot(row) for row in rows}}
        self.revision = revision


def _snapshot(row: ApiKey) -> KeySnapshot:
    return KeySnapshot(
        key_id=row.id,
        account_id=row.account_id,
        is_suspended=row.status != ApiKey.Status.ACTIVE,
        expires_at=row.expires_at,
        allowed_models=frozenset(row.allowed_models),
        allowed_networks=tuple(ipaddress.ip_network(network, strict=False) for network in row.allowed_networks),
        limit_micro=row.limit_micro,
        daily_budget_micro=row.daily_budget_micro,
        hourly_budget_micro=row.hourly_budget_micro,
        rpm_limit=row.rpm_limit,
        model_limits={
            limit.model_id: ModelLimitSnapshot(limit.limit_micro, limit.rpm_limit) for limit in row.model_limits.all()
        },
    )
