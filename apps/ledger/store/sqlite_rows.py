"""Rows as SQLite keeps them: ids as hex, instants as Django's backend writes them, JSON as text."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from apps.ledger.operations import GrantState, HeldWindow, HoldState, KeyState, NewEntry

encode = msgspec.json.Encoder().encode
decode_windows = msgspec.json.Decoder(tuple[HeldWindow, ...]).decode

ENTRY_COLUMNS: Final = tuple(field.name for field in fields(NewEntry))
GRANT_COLUMNS: Final = tuple(field.name for field in fields(GrantState))


def row_of(item: object, columns: Iterable[str]) -> dict[str, object]:
    """A row's values by column."""
    return {column: stored(getattr(item, column)) for column in columns}


def stored(value: object) -> object:
    """A value as Django's SQLite backend stores it."""
    if isinstance(value, uuid.UUID):
        return value.hex
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, dict | list):
        return encode(value).decode()
    return value


def instant(moment: datetime) -> str:
    return str(moment.astimezone(UTC).replace(tzinfo=None))


def read_instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC)


def hold_state(amount_micro: int, status: str, windows: str) -> HoldState:
    return HoldState(amount_micro, status == "open", decode_windows(windows))


def key_state(status: str, expires_at: str | None, account_status: str, absorbed_cap_micro: int | None) -> KeyState:
    return KeyState(status != "active", account_status != "active", read_instant(expires_at), absorbed_cap_micro)


def grant_state(row: tuple[Any, ...]) -> GrantState:
    """Out of GRANT_COLUMNS, in order."""
    grant_id, account_id, amount_micro, remaining_micro, priority, expires_at, created_at = row
    made_at = read_instant(created_at)
    assert made_at is not None
    owner = uuid.UUID(account_id)
    return GrantState(
        uuid.UUID(grant_id), owner, amount_micro, remaining_micro, priority, read_instant(expires_at), made_at
    )
