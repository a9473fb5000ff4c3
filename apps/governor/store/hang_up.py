"""Whether a caller hangs up while its call waits: the same for every store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class HangUp:
    """Calls `then` once the caller has gone, for as long as the call waits. Where nobody can tell, it never does."""

    __slots__ = ("_given", "_then", "_watched")

    def __init__(self, gone: Awaitable[object] | None, then: Callable[[], None]) -> None:
        self._given = gone
        self._then = then
        self._watched: asyncio.Future[object] | None = None
        if gone is not None:
            self._watched = asyncio.ensure_future(gone)
            self._watched.add_done_callback(self._look)

    @property
    def has_happened(self) -> bool:
        """A watcher that was cancelled only stopped watching."""
        return self._watched is not None and self._watched.done() and not self._watched.cancelled()

    def stop(self) -> None:
        """The call waits no more. A future that was given is left alone, what was made of one that was not is ended."""
        if self._watched is None:
            return
        self._watched.remove_done_callback(self._look)
        if self._watched is not self._given:
            self._watched.cancel()

    def _look(self, _: asyncio.Future[object]) -> None:
        if self.has_happened:
            self._then()
