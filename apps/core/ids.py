"""Identifiers: UUIDv7 made in the application, so that they sort by time and need no database sequence."""

from __future__ import annotations

import uuid

import uuid_utils

REQUEST_PREFIX = "req_"


def new_id() -> uuid.UUID:
    """A fresh UUIDv7 as the standard library's type."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def show_request_id(request_id: uuid.UUID) -> str:
    """`req_` and 32 hex digits, as every header, body, log and page shows it."""
    return REQUEST_PREFIX + request_id.hex


def parse_request_id(text: str) -> uuid.UUID:
    """Read a request id as we show it, or as a bare UUID.

    Raises: ValueError.
    """
    return uuid.UUID(text.removeprefix(REQUEST_PREFIX))


def time_bound(unix_ms: int) -> uuid.UUID:
    """The smallest UUIDv7 of that millisecond: the edge of a partition by time."""
    return uuid.UUID(int=unix_ms << 80)
