"""Time comes in as an argument: instants from `now()`, durations from a monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Monotonic = Callable[[], float]
"""Seconds that never go back; only differences mean anything."""

monotonic: Monotonic = time.monotonic


def now() -> datetime:
    return datetime.now(UTC)
