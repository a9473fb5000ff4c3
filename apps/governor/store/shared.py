"""The governor of an installation with several processes: Redis, and this process's own share while that is away."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

from apps.catalog.rules import Capacity
from apps.core import clock
from apps.governor.store.memory import CallLater, MemoryGovernor, call_later
from apps.governor.store.protocol import Admission, Ask, ModelFigures
from apps.governor.store.redis.admissions import RedisAdmissions
from apps.governor.store.redis.circuits import RedisCircuits
from apps.governor.store.redis.link import Link, LinkDown
from apps.governor.store.redis.names import Names


@dataclass(slots=True)
class Halves:
    """How many calls were admitted by each half, since the start."""

    shared: int = 0
    own: int = 0


class SharedGovernor:
    """See Governor. Money never depends on it: what it may get wrong for a moment is how many calls run at once.

    While Redis is away each process keeps to its share: every limit divided by the processes that the ledger knows to
    be alive, at least 1. What Redis forgot when it comes back, slots of calls that still run, is told to it.
    """

    def __init__(
        self,
        link: Link,
        *,
        process_id: uuid.UUID,
        live_processes: Callable[[], int],
        monotonic: clock.Monotonic = clock.monotonic,
        now: Callable[[], datetime] = clock.now,
        call_later: CallLater = call_later,
        told_time: Callable[[], str] = str,
    ) -> None:
        names = Names(link.database)
        self.admitted = Halves()
        self._link = link
        self._live_processes = live_processes
        self._circuits = RedisCircuits(link, names, monotonic=monotonic, call_later=call_later, told_time=told_time)
        self._shared = RedisAdmissions(
            link,
            names,
            process_id=process_id,
            monotonic=monotonic,
            now=now,
            call_later=call_later,
            told_time=told_time,
        )
        self._own = MemoryGovernor(mode="degraded", monotonic=monotonic, now=now, call_later=call_later)
        self._running: dict[int, Admission] = {}
        """Calls that the own half admitted, by identity."""

    @property
    def mode(self) -> str:
        return "active" if self._link.is_up else "degraded"

    @property
    def is_shared(self) -> bool:
        return self._link.is_up

    async def start(self) -> None:
        """Connect, where Redis is there; it is looked for from now on."""
        await self._link.start()
        self._shared.start()

    async def stop(self) -> None:
        self._shared.stop()
        await self._link.stop()

    async def admit(self, ask: Ask, *, gone: Awaitable[object] | None = None) -> Admission:
        if self._link.is_up:
            try:
                admission = await self._shared.admit(ask, gone=gone)
            except LinkDown:
                pass  # whoever waited there begins to wait here
            else:
                self.admitted.shared += 1
                return admission
        admission = await self._own.admit(share_of_ask(ask, self._live_processes()), gone=gone)
        self.admitted.own += 1
        self._running[id(admission)] = admission
        admission.call_id = self._shared.adopt(admission.ask)
        return admission

    def finish(self, admission: Admission, *, tokens: int | None) -> None:
        if self._running.pop(id(admission), None) is None:
            self._shared.finish(admission, tokens=tokens)
            return
        self._own.finish(admission, tokens=tokens)
        self._shared.release(admission.ask, admission.call_id)

    def circuit(self, route: str) -> str:
        return self._circuits.circuit(route)

    async def may_call(self, route: str) -> bool:
        return await self._circuits.may_call(route)

    def report(self, route: str, *, ok: bool, began_at: float | None = None) -> None:
        self._circuits.report(route, ok=ok, began_at=began_at)

    async def figures(self) -> dict[str, ModelFigures]:
        if self._link.is_up:
            try:
                return await self._shared.figures()
            except LinkDown:
                pass
        return await self._own.figures()


def share_of_ask(ask: Ask, processes: int) -> Ask:
    """The same call under this process's share of every limit."""
    if processes < 2:
        return ask
    return replace(
        ask,
        capacity=share_of(ask.capacity, processes),
        account_rpm=max(1, ask.account_rpm // processes),
        key_rpm=None if ask.key_rpm is None else max(1, ask.key_rpm // processes),
        key_model_rpm=None if ask.key_model_rpm is None else max(1, ask.key_model_rpm // processes),
    )


@lru_cache(maxsize=1_024)
def share_of(capacity: Capacity, processes: int) -> Capacity:
    """One of so many equal shares of a model, each at least 1; the very same object for the same question, by which the
    own half knows a policy that has not changed. What is no queue stays none."""
    return replace(
        capacity,
        concurrency=max(1, capacity.concurrency // processes),
        rpm=max(1, capacity.rpm // processes),
        tpm=max(1, capacity.tpm // processes),
        ipm=None if capacity.ipm is None else max(1, capacity.ipm // processes),
        queue_length=-(-capacity.queue_length // processes),
        queue_tokens=-(-capacity.queue_tokens // processes),
    )
