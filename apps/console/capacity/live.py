"""Capacity pushed to those who look: gathered once a second however many they are, and not at all while nobody does."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Final

import msgspec

from apps.core import clock
from apps.governor.telemetry import here
from apps.governor.telemetry.overview import Overview

logger = logging.getLogger(__name__)

GATHER_S: Final = 1.0
QUIET_S: Final = 5.0
"""How often a viewer hears that nothing changed, to tell that from a connection that is gone."""
MAX_VIEWERS: Final = 50
MAX_BEHIND: Final = 10
"""Messages that wait for a viewer's connection; one that is further behind is dropped, and comes back for all of it."""

Outbox = asyncio.Queue[str | None]
"""Messages for one viewer. None: it is too far behind."""


class Viewers:
    """Everybody in this process who looks at its capacity page or tile.

    Shape:  {"kind": "all", "capacity": Overview}          first
            {"kind": "changes", "capacity": Overview}      its `models` are those that changed
            {"kind": "same"}
    """

    def __init__(self) -> None:
        self._outboxes: set[Outbox] = set()
        self._gathering: asyncio.Task[None] | None = None
        self._shown: Overview | None = None
        self._told_at = 0.0

    def __len__(self) -> int:
        return len(self._outboxes)

    @property
    def is_gathering(self) -> bool:
        return self._gathering is not None

    def join(self) -> Outbox | None:
        """A viewer's outbox; None where there are as many as may be."""
        if len(self._outboxes) >= MAX_VIEWERS:
            return None
        outbox: Outbox = asyncio.Queue(MAX_BEHIND + 1)
        self._outboxes.add(outbox)
        if self._shown is not None:
            outbox.put_nowait(_message("all", self._shown))
        if self._gathering is None:
            self._gathering = asyncio.create_task(self._gather_forever(), name="capacity viewers")
        return outbox

    def leave(self, outbox: Outbox) -> None:
        self._outboxes.discard(outbox)
        if not self._outboxes and self._gathering is not None:
            self._gathering.cancel()
            self._gathering = self._shown = None

    async def _gather_forever(self) -> None:
        is_failing = False
        while True:
            try:
                self._show(await here.observer().look())
                is_failing = False
            except Exception:
                # Viewers see by themselves that nothing comes.
                if not is_failing:
                    logger.exception("capacity could not be gathered for its viewers")
                is_failing = True
            await asyncio.sleep(GATHER_S)

    def _show(self, found: Overview) -> None:
        shown, self._shown = self._shown, found
        now = clock.monotonic()
        if shown is None:
            message = _message("all", found)
        elif replace(found, taken_at=shown.taken_at) != shown:
            before = {model.model: model for model in shown.models}
            if before.keys() != {model.model for model in found.models}:
                message = _message("all", found)
            else:
                changed = [model for model in found.models if model != before[model.model]]
                message = _message("changes", replace(found, models=changed))
        elif now - self._told_at >= QUIET_S:
            message = '{"kind":"same"}'
        else:
            return
        self._told_at = now
        for outbox in self._outboxes:
            if outbox.qsize() < MAX_BEHIND:
                outbox.put_nowait(message)
            elif not outbox.full():
                outbox.put_nowait(None)


def _message(kind: str, overview: Overview) -> str:
    return msgspec.json.encode({"kind": kind, "capacity": overview}).decode()


VIEWERS: Final = Viewers()
"""Of this process."""
