"""The observer of this process, for pages and probes: they run in threads, it runs in the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from apps.governor.telemetry.observer import Observer

T = TypeVar("T")

DEADLINE_S: Final = 3.0

_observers: list[tuple[Observer, asyncio.AbstractEventLoop]] = []


class NotServing(Exception):
    """Nobody counts calls in this process: it is a command, not a web process."""


def set_observer(observer: Observer) -> None:
    """Called in the event loop that `observer` lives in."""
    _observers[:] = [(observer, asyncio.get_running_loop())]


def forget_observer() -> None:
    _observers.clear()


def observer() -> Observer:
    """Raises: NotServing."""
    return _find()[0]


def ask(question: Coroutine[Any, Any, T]) -> T:
    """Wait in a thread for what the observer tells: `ask(observer().look())`. Raises: NotServing, TimeoutError."""
    _, loop = _find()
    return asyncio.run_coroutine_threadsafe(question, loop).result(DEADLINE_S)


def _find() -> tuple[Observer, asyncio.AbstractEventLoop]:
    if not _observers:
        raise NotServing("this process serves no calls")
    return _observers[0]
