"""The deadlines of one stream, and its keep-alives from before its upstream answers: one timer, not one per chunk."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

from apps.core import clock
from apps.gateway import respond

DRAIN_S: Final = 5.0
"""How long a stream is read on after its caller left."""
PING_S: Final = 15.0
"""A caller that hears nothing for this long gets a keep-alive: agents warn their people after 20 s of silence."""
TICK_S: Final = 1.0


class Watch:
    """One stream's time. Until `begin` nothing but keep-alives is due: whoever is asked has deadlines of its own. Past
    a deadline the relay's task is cancelled and `reason` says why."""

    def __init__(self, *, heard_at: float, ping: Callable[[], None]) -> None:
        """`heard_at`: since when (monotonic) the caller has heard nothing of us."""
        self.reason = ""
        self.waited_for_caller_s = 0.0
        """How long the relay stood still because the caller did not read."""
        self._ping = ping
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._heard_at = heard_at
        self._since = heard_at
        self._idle_s = self._ends_at = math.inf
        self._is_sending = False
        self._is_resting = False
        self._drain_ends_at: float | None = None
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def begin(self, *, idle_s: float, ends_at: float) -> None:
        """An upstream answered. Again, where another had to be asked after all."""
        self.reason = ""
        self._since = clock.monotonic()
        self._idle_s, self._ends_at = idle_s, ends_at
        self._is_sending = self._is_resting = False
        self._drain_ends_at = None

    def wait(self) -> None:
        """What answered has failed: until the next one does, there are keep-alives alone."""
        self.begin(idle_s=math.inf, ends_at=math.inf)
        self._timer.cancel()
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def read(self) -> None:
        """The upstream sent something, or the caller took something: now it is the upstream's turn."""
        now = clock.monotonic()
        if self._is_sending:
            self.waited_for_caller_s += now - self._since
            self._is_sending = False
            self._heard_at = now
        self._since = now

    def sending(self) -> None:
        """Now it is the caller's turn to take what we send."""
        self._since = clock.monotonic()
        self._is_sending = True

    def drain(self) -> None:
        """The caller left: the upstream has a few seconds more."""
        if self._drain_ends_at is None:
            self._drain_ends_at = clock.monotonic() + DRAIN_S

    def rest(self, *, pings: bool) -> None:
        """Everything is read. What the bill takes has a deadline of its own; the caller hears of us meanwhile."""
        self._is_resting = True
        self._is_sending = not pings

    def stop(self) -> None:
        self._timer.cancel()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK_S, self._tick)
        now = clock.monotonic()
        if self._is_resting:
            self._ping_if_due(now)
        elif self._drain_ends_at is not None:
            if now >= self._drain_ends_at:
                self._end("drained")
        elif self._is_sending and now - self._since > respond.READER_STUCK_S:
            self._end("stuck")
        elif not self._is_sending and now - self._since > self._idle_s:
            self._end("idle")
        elif now > self._ends_at:
            self._end("total")
        else:
            self._ping_if_due(now)

    def _ping_if_due(self, now: float) -> None:
        if not self._is_sending and now - self._heard_at >= PING_S:
            self._heard_at = now
            self._ping()

    def _end(self, reason: str) -> None:
        if not self.reason and self._task is not None:
            self.reason = reason
            self._timer.cancel()
            self._task.cancel()
