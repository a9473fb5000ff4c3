"""Rolling windows by who they count, forgetting whoever is quiet."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from apps.governor.rules import RollingWindow

FORGET_AT_ONCE: Final = 2
"""Idle windows dropped per look-up: more than the one it may add, so that memory follows the active callers down."""

Who = TypeVar("Who", bound=Hashable)


class Meters(Generic[Who]):
    """One window per account, key, or key and model; least recently used first."""

    __slots__ = ("_windows",)

    def __init__(self) -> None:
        self._windows: OrderedDict[Who, RollingWindow] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def window(self, who: Who, now: float) -> RollingWindow:
        """Whose window it is, made where there is none."""
        windows = self._windows
        found = windows.get(who)
        if found is None:
            self._forget_idle(now)
            found = windows[who] = RollingWindow()
        else:
            windows.move_to_end(who)
        return found

    def _forget_idle(self, now: float) -> None:
        for _ in range(FORGET_AT_ONCE):
            oldest = next(iter(self._windows), None)
            if oldest is None or not self._windows[oldest].is_idle(now):
                return
            del self._windows[oldest]
