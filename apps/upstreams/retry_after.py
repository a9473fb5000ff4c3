"""When an upstream wants to be asked again, in all the ways in which upstreams say so. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

MAX_RETRY_AFTER_S: Final = 3_600
_MAX_CHARS: Final = 40


def read_retry_after(headers: Mapping[str, str], *, told_s: int | None, now: datetime) -> int | None:
    """Whole seconds to wait, at least 1 and within reason: from `Retry-After` (seconds or a date), `retry-after-ms`
    (OpenAI's, and more exact), or what the body told (`told_s`); None where nothing was said.

    Example: {"retry-after-ms": "1200"} -> 2, {"retry-after": "Fri, 27 Nov 2026 12:00:30 GMT"} at noon -> 30.
    """
    seconds = _milliseconds(headers.get("retry-after-ms"))
    if seconds is None:
        seconds = _seconds(headers.get("retry-after"), now)
    if seconds is None:
        seconds = told_s
    return None if seconds is None else min(max(math.ceil(seconds), 1), MAX_RETRY_AFTER_S)


def _milliseconds(text: str | None) -> float | None:
    return int(text) / 1_000 if text is not None and _is_number(text) else None


def _seconds(text: str | None, now: datetime) -> float | None:
    if text is None or len(text) > _MAX_CHARS:
        return None
    if _is_number(text):
        return int(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()


def _is_number(text: str) -> bool:
    return len(text) <= _MAX_CHARS and text.isascii() and text.isdigit()
