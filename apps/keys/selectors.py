"""Reads about API keys. The key itself is nowhere: only its digest is stored."""

from __future__ import annotations

import uuid

from apps.accounts.mistakes import Mistake
from apps.core.errors import rfc3339
from apps.core.money import json_number
from apps.keys.models import ApiKey


class KeyMistake(Mistake):
    """About API keys and their limits."""


def find_key(text: str) -> ApiKey:
    """The key with this id.

    Raises: KeyMistake, where there is none.
    """
    try:
        key = ApiKey.objects.select_related("account").filter(id=uuid.UUID(text)).first()
    except ValueError:
        key = None
    if key is None:
        raise KeyMistake(f"no API key with the id {text!r}")
    return key


def keys_of(account_id: uuid.UUID) -> list[ApiKey]:
    """An account's keys, newest first, with their model limits."""
    return list(
        ApiKey.objects.filter(account_id=account_id).prefetch_related("model_limits").order_by("-created_at", "-id")
    )


def key_settings(key: ApiKey) -> dict[str, object]:
    """A key as `set_key --json` prints it; amounts are credits, None is no limit, an empty list is all."""
    return {
        "key_id": str(key.id),
        "account_id": str(key.account_id),
        "name": key.name,
        "last4": key.last4,
        "status": key.status,
        "suspended_reason": key.suspended_reason or None,
        "models": key.allowed_models,
        "limit": _amount(key.limit_micro),
        "daily": _amount(key.daily_budget_micro),
        "hourly": _amount(key.hourly_budget_micro),
        "rpm": key.rpm_limit,
        "model_limits": [
            {"model": cap.model_id, "limit": _amount(cap.limit_micro), "rpm": cap.rpm_limit}
            for cap in sorted(key.model_limits.all(), key=lambda cap: cap.model_id)
        ],
        "allow_ip": key.allowed_networks,
        "expires": None if key.expires_at is None else rfc3339(key.expires_at),
        "created_at": rfc3339(key.created_at),
    }


def _amount(micro: int | None) -> object:
    return None if micro is None else json_number(micro)
