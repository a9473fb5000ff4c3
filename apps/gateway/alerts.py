"""What this process tells operators, and how often: an upstream that refuses every call is told every ten seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

TELL_S: Final = 10.0
MAX_SUBJECTS: Final = 500
"""Told apart at once: routes are few."""

TellAlert = Callable[[str, str, str, int], object]
"""Told the kind, the subject, the message, and how many times it happened since it was last told."""


class Alerts:
    """The first of a kind and subject is told at once; what follows within TELL_S is counted and told together."""

    def __init__(self, tell: TellAlert) -> None:
        self._tell = tell
        self._waiting: dict[tuple[str, str], tuple[int, str]] = {}

    def tell(self, kind: str, subject: str, message: str) -> None:
        about = kind, subject
        waiting = self._waiting.get(about)
        if waiting is not None:
            self._waiting[about] = waiting[0] + 1, message
        elif len(self._waiting) < MAX_SUBJECTS:
            self._begin(about)
            self._tell(kind, subject, message, 1)

    def _begin(self, about: tuple[str, str]) -> None:
        self._waiting[about] = 0, ""
        asyncio.get_running_loop().call_later(TELL_S, self._flush, about)

    def _flush(self, about: tuple[str, str]) -> None:
        times, message = self._waiting.pop(about)
        if times:
            self._begin(about)
            self._tell(*about, message, times)
