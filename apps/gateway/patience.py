"""Deadlines for waits that hardly ever last: one timer for all of them, not one each.

A timer per wait is a tenth of what a small call costs. Here a wait enters a set and leaves it, and twice a second
somebody looks whose time is over; so a deadline is kept to half a second, which is fine where it is many seconds.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final

from apps.core import clock

LOOK_S: Final = 0.5


class Patience:
    """`with Patience(30): await …` raises TimeoutError when the wait took longer."""

    __slots__ = ("_cancelling", "_is_over", "_seconds", "_task", "_waits", "ends_at")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_over = False

    def __enter__(self) -> Patience:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self.ends_at = clock.monotonic() + self._seconds
        self._waits = _waits()
        self._waits.add(self)
        return self

    def renew(self) -> None:
        """What was waited for is on its way: the time begins anew."""
        self.ends_at = clock.monotonic() + self._seconds

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waits.discard(self)
        if self._is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def end(self) -> None:
        """The time is over: the wait is cancelled, and becomes a TimeoutError on its way out."""
        self._is_over = True
        self._task.cancel()


class _Waits:
    """The waits of one event loop, looked at as long as there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: set[Patience] = set()
        self._is_looking = False

    def add(self, wait: Patience) -> None:
        self._waiting.add(wait)
        if not self._is_looking:
            self._is_looking = True
            self.loop.call_later(LOOK_S, self._look)

    def discard(self, wait: Patience) -> None:
        self._waiting.discard(wait)

    def _look(self) -> None:
        now = clock.monotonic()
        for wait in [wait for wait in self._waiting if wait.ends_at <= now]:
            self._waiting.discard(wait)
            wait.end()
        self._is_looking = bool(self._waiting)
        if self._is_looking:
            self.loop.call_later(LOOK_S, self._look)


_current: _Waits | None = None


def _waits() -> _Waits:
    """The running loop's: a process has one loop, a test run one after another."""
    global _current  # noqa: PLW0603
    loop = asyncio.get_running_loop()
    if _current is None or _current.loop is not loop:
        _current = _Waits(loop)
    return _current
