"""Work on large bodies beside the event loop: what takes a tenth of a second there would make every other call wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")
LARGE_BYTES: Final = 262_144
"""A smaller body is translated in two milliseconds at most: a thread would cost as much."""


async def beside(work: Callable[[], T], *, size: int) -> T:
    """What `work` returns; `size` is that of the body it reads."""
    return await asyncio.to_thread(work) if size > LARGE_BYTES else work()
