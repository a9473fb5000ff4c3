"""The audit log: every service that changes something writes what it changed, in the same transaction."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from django.db import models

from apps.accounts.models import AuditEvent
from apps.core.errors import rfc3339
from apps.core.money import Credits

COMMAND_LINE: Final = "command line"
"""The actor of a change that no signed-in person made."""


def record(
    *,
    actor: str,
    action: str,
    target: object,
    account_id: uuid.UUID | None = None,
    detail: Mapping[str, object] | None = None,
) -> None:
    """Write one event: `action` is `key.suspended`, `target` what it was done to.

    Shape: detail {"weight": [100, 50], "why": "abuse"}; a pair is what was and what is.
    """
    AuditEvent.objects.create(
        account_id=account_id,
        actor=actor,
        action=action,
        target=str(target)[:150],
        detail={name: _plain(value) for name, value in (detail or {}).items()},
    )


def assign(row: models.Model, values: Mapping[str, object]) -> dict[str, list[object]]:
    """Set the fields of `row` that differ from `values`; return {field: [was, is]} of those, saving nothing."""
    changed: dict[str, list[object]] = {}
    for field, value in values.items():
        was = getattr(row, field)
        if was != value:
            setattr(row, field, value)
            changed[field] = [was, value]
    return changed


def _plain(value: object) -> object:
    """`value` in JSON's types."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Credits):
        return str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
