"""Sees to it that a stream's payout is made soon, whoever makes it: a worker that is told of it, or this process.

The event loop only sets a flag. A thread tells a worker, for all streams of a moment at once, and looks again a few
seconds later: where the broker lost the message, is away, or nobody works, it pays itself. So a payout hangs on nothing
but the database.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

logger = logging.getLogger(__name__)

GATHER_S: Final = 0.1
"""Streams that end together are told of once."""
LOOK_AGAIN_S: Final = 4.0
"""A worker that was told of a claim has paid it by then."""
LOOK_EVERY_S: Final = 30.0
"""Claims of processes that are gone, and those that came out of a journal, while no worker sweeps."""
RETRY_S: Final = 2.0
STOP_S: Final = 5.0


class Payer:
    """`note` is called by the event loop; everything else happens in the thread between `start` and `stop`."""

    def __init__(
        self,
        *,
        pay: Callable[[], int],
        tell: Callable[[], object] | None,
        after: Callable[[], object] = lambda: None,
        look_again_s: float = LOOK_AGAIN_S,
        look_every_s: float = LOOK_EVERY_S,
        retry_s: float = RETRY_S,
    ) -> None:
        """`pay` says how many accounts could not be paid; `tell` asks a worker to pay, None where nobody is; `after`
        runs in the thread after each look."""
        self._pay = pay
        self._tell = tell
        self._after = after
        self._look_again_s = look_again_s
        self._look_every_s = look_every_s
        self._retry_s = retry_s
        self._is_due = threading.Event()
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="insurance", daemon=True)

    def note(self) -> None:
        """Something is due, and is in the database."""
        self._is_due.set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is due and not paid yet is found by whoever looks next."""
        self._is_stopped.set()
        self._is_due.set()
        if self._thread.is_alive():
            self._thread.join(timeout=STOP_S)

    def _run(self) -> None:
        look_at = time.monotonic() + self._look_every_s
        while True:
            was_noted = self._is_due.wait(max(0.0, look_at - time.monotonic()))
            if self._is_stopped.wait(GATHER_S if was_noted else 0.0):
                return
            if was_noted:
                self._is_due.clear()
                # Told or not, what was noted first is looked after first.
                look_at = min(look_at, time.monotonic() + (self._look_again_s if self._told() else 0.0))
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + (self._look_every_s if self._paid() else self._retry_s)

    def _told(self) -> bool:
        if self._tell is None:
            return False
        try:
            self._tell()
        except Exception as error:
            # Whatever the broker's client calls it.
            logger.warning("no worker can be told that insurance is due, so this process pays: %s", error)
            return False
        return True

    def _paid(self) -> bool:
        try:
            return not self._pay()
        except Exception:
            logger.exception("what insurance owes cannot be paid now; it is tried again")
            return False
        finally:
            self._after()
