"""Count long texts in a thread beside the event loop: what takes milliseconds would make every other call wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

AT_ONCE_CHARS: Final = 4_000
"""A text up to here is counted on the spot: a quarter of a millisecond as a rule."""
MAX_WAITING: Final = 64
"""Counts that may wait for the thread. A tighter bound is a favour: past this it is not done."""


class Counter:
    """One thread that counts: the loop waits for it no longer than one piece of a text takes."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="counter")
        self._waiting = 0
        self._is_warm = False

    @property
    def is_busy(self) -> bool:
        return self._waiting >= MAX_WAITING

    async def run(self, count: Callable[[], T], *, size: int) -> T:
        """What `count` returns; `size` is the length of what it reads."""
        if self._is_warm and size <= AT_ONCE_CHARS:
            return count()
        self._waiting += 1
        try:
            counted = await asyncio.get_running_loop().run_in_executor(self._thread, count)
        finally:
            self._waiting -= 1
        self._is_warm = True
        return counted

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
