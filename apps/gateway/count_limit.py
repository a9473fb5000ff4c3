"""How often a key may have its tokens counted, which is free."""

from __future__ import annotations

import uuid
from typing import Final

from apps.core.errors import GatewayError

MAX_PER_KEY: Final = 600
WINDOW_S: Final = 60.0
"""An agent counts fourteen times at once; this many a minute is a loop."""
MAX_KEYS_WATCHED: Final = 10_000


class CountLimit:
    """How often a key may count: outside of every rate of the account's, but not without end."""

    def __init__(self) -> None:
        self._windows: dict[uuid.UUID, tuple[float, int]] = {}

    def take(self, key_id: uuid.UUID, *, now_s: float) -> None:
        """Raises: GatewayError (`key_rpm`), past MAX_PER_KEY within a window."""
        began_at, taken = self._windows.pop(key_id, (now_s, 0))
        if now_s - began_at >= WINDOW_S:
            began_at, taken = now_s, 0
        if len(self._windows) >= MAX_KEYS_WATCHED:
            self._windows.pop(next(iter(self._windows)))
        self._windows[key_id] = began_at, taken + 1
        if taken >= MAX_PER_KEY:
            retry_after_s = max(1, int(began_at + WINDOW_S - now_s) + 1)
            message = f"This API key has counted tokens more than {MAX_PER_KEY} times in a minute."
            raise GatewayError("key_rpm", message, retry_after_s=retry_after_s)
