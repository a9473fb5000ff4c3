"""The governor of a single process: no I/O, no background task, no lock (one event loop runs all of it)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from apps.catalog.rules import Capacity
from apps.core import clock
from apps.governor.rules import Circuit, RollingWindow, check_place
from apps.governor.store import refusals
from apps.governor.store.hang_up import HangUp
from apps.governor.store.meters import Meters
from apps.governor.store.protocol import Admission, Ask, CallerGone, Minute, ModelFigures, Shed
from apps.governor.store.queue import Demand, Waiter, WaitQueue


class Timer(Protocol):
    def cancel(self) -> object: ...


CallLater = Callable[[float, Callable[[], None]], Timer]
"""Run something after so many seconds, unless cancelled."""

_OF_REQUESTS = frozenset({"account_rpm", "key_rpm", "key_model_rpm", "model_rpm"})


def call_later(delay_s: float, callback: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(delay_s, callback)


@dataclass(slots=True, eq=False)
class _Path:
    """One model: its slots, its queue, its minute."""

    model_id: str
    capacity: Capacity
    in_flight: int = 0
    admitted: int = 0
    queue: WaitQueue = field(default_factory=WaitQueue)
    requests: RollingWindow = field(default_factory=RollingWindow)
    tokens: RollingWindow = field(default_factory=RollingWindow)
    images: RollingWindow = field(default_factory=RollingWindow)
    shed: Counter[str] = field(default_factory=Counter)


class MemoryGovernor:
    """Slots, queues, rates and circuits in this process's memory.

    Keys and accounts are forgotten once idle; models and routes are kept, there are as many as the catalog has.
    """

    is_shared = False

    def __init__(
        self,
        *,
        mode: str = "active",
        monotonic: clock.Monotonic = clock.monotonic,
        now: Callable[[], datetime] = clock.now,
        call_later: CallLater = call_later,
    ) -> None:
        self.mode = mode
        self._monotonic = monotonic
        self._now = now
        self._call_later = call_later
        self._paths: dict[str, _Path] = {}
        # By the integers of their UUIDs, which hash in C: a UUID hashes and compares in Python.
        self._accounts: Meters[int] = Meters()
        self._keys: Meters[int] = Meters()
        self._key_models: Meters[tuple[int, str]] = Meters()
        self._circuits: dict[str, Circuit] = {}

    async def admit(self, ask: Ask, *, gone: Awaitable[object] | None = None) -> Admission:
        """See Governor. All is checked before anything is counted, so a refusal has nothing to give back."""
        now = self._monotonic()
        path = self._path(ask, now)
        demands = self._demands(ask, path, now)
        for code, window, asked, limit in demands:
            used = window.used(now)
            if used + asked > limit:
                wait_s = window.seconds_until(asked, limit=limit, now=now)
                raise self._shed(
                    path,
                    refusals.rate_exceeded(
                        code,
                        model_id=ask.model_id,
                        asked=asked,
                        value=limit,
                        used=used,
                        wait_s=wait_s,
                        now=self._now(),
                    ),
                )
        if path.in_flight >= ask.capacity.concurrency:
            return await self._wait(ask, path, demands, now=now, gone=gone)
        for _, window, asked, _ in demands:
            window.count(asked, now)
        return self._take_slot(ask, path, demands, counted_at=now, now=now)

    def finish(self, admission: Admission, *, tokens: int | None) -> None:
        """See Governor. Tokens beyond the estimate are counted now, even above the limit: they were used."""
        if admission.is_finished:
            return
        admission.is_finished = True
        ask, counted_at, now = admission.ask, admission.counted_at, self._monotonic()
        path = self._paths[ask.model_id]
        if tokens is None:
            path.images.refund(ask.images, counted_at=counted_at, now=now)
        spare = ask.tokens - (tokens or 0)
        if spare > 0:
            path.tokens.refund(spare, counted_at=counted_at, now=now)
        else:
            path.tokens.count(-spare, now)
        self._free_slot(path, now)

    def circuit(self, route: str) -> str:
        found = self._circuits.get(route)
        return "closed" if found is None else found.state(self._monotonic())

    async def may_call(self, route: str) -> bool:
        found = self._circuits.get(route)
        return found is None or found.may_call(self._monotonic())

    def report(self, route: str, *, ok: bool, began_at: float | None = None) -> None:
        found = self._circuits.get(route)
        if found is None:
            found = self._circuits[route] = Circuit()
        found.report(ok=ok, began_at=began_at, now=self._monotonic())

    async def figures(self) -> dict[str, ModelFigures]:
        now = self._monotonic()
        return {
            model_id: ModelFigures(
                concurrency=path.capacity.concurrency,
                in_flight=path.in_flight,
                queued=path.queue.load.calls,
                queued_tokens=path.queue.load.tokens,
                requests_in_minute=path.requests.used(now),
                tokens_in_minute=path.tokens.used(now),
                images_in_minute=path.images.used(now),
                admitted=path.admitted,
                shed=dict(path.shed),
            )
            for model_id, path in self._paths.items()
        }

    def _path(self, ask: Ask, now: float) -> _Path:
        path = self._paths.get(ask.model_id)
        if path is None:
            path = self._paths[ask.model_id] = _Path(ask.model_id, ask.capacity)
        elif path.capacity is not ask.capacity:
            path.capacity = ask.capacity
            # A policy with more slots serves those who wait before those who come.
            self._hand_over(path, now)
        return path

    def _demands(self, ask: Ask, path: _Path, now: float) -> list[Demand]:
        """In the order of refusal; the account's window comes first."""
        demands: list[Demand] = [("account_rpm", self._accounts.window(ask.account_id.int, now), 1, ask.account_rpm)]
        if ask.key_rpm is not None:
            demands.append(("key_rpm", self._keys.window(ask.key_id.int, now), 1, ask.key_rpm))
        if ask.key_model_rpm is not None:
            window = self._key_models.window((ask.key_id.int, ask.model_id), now)
            demands.append(("key_model_rpm", window, 1, ask.key_model_rpm))
        capacity = ask.capacity
        demands.append(("model_rpm", path.requests, 1, capacity.rpm))
        demands.append(("model_tpm", path.tokens, ask.tokens, capacity.tpm))
        if capacity.ipm is not None and ask.images:
            demands.append(("model_ipm", path.images, ask.images, capacity.ipm))
        return demands

    async def _wait(
        self, ask: Ask, path: _Path, demands: list[Demand], *, now: float, gone: Awaitable[object] | None
    ) -> Admission:
        """Queue for a slot. Whatever ends the wait but an admission gives back the place, the rates and any slot."""
        self._check_place(ask, path, now)
        waiter = Waiter(ask, demands, now, asyncio.get_running_loop().create_future())
        hang_up = HangUp(gone, waiter.dismiss)
        for _, window, asked, _ in demands:
            window.count(asked, now)
        path.queue.join(waiter)
        timer = self._call_later(ask.capacity.queue_s, partial(self._time_out, path, waiter))
        try:
            admission = await waiter.turn
            if hang_up.has_happened:
                raise CallerGone
            return admission
        except BaseException:
            ended_at = self._monotonic()
            path.queue.leave(waiter)
            for _, window, asked, _ in demands:
                window.refund(asked, counted_at=now, now=ended_at)
            if waiter.has_slot:  # handed over in the tick in which the call was cancelled or the caller left
                self._free_slot(path, ended_at)
            raise
        finally:
            timer.cancel()
            hang_up.stop()

    def _check_place(self, ask: Ask, path: _Path, now: float) -> None:
        queue = path.queue
        no_place = check_place(
            capacity=ask.capacity, queued=queue.load, own=queue.load_of(ask.account_id), tokens=ask.tokens
        )
        if no_place is None:
            return
        # Whoever is first now has a slot or has given up by its deadline: then a place is free.
        first = queue.oldest(ask.account_id if no_place.is_own else None)
        wait_s = None if first is None else first.deadline - now
        raise self._shed(path, refusals.queue_full(no_place, model_id=ask.model_id, wait_s=wait_s, now=self._now()))

    def _time_out(self, path: _Path, waiter: Waiter) -> None:
        if not waiter.turn.done():
            waiter.turn.set_exception(self._shed(path, refusals.queue_timeout(waiter.ask, in_flight=path.in_flight)))

    def _free_slot(self, path: _Path, now: float) -> None:
        path.in_flight -= 1
        if path.queue.load.calls:
            self._hand_over(path, now)

    def _hand_over(self, path: _Path, now: float) -> None:
        """Give free slots to those who wait. The slot is taken here, not when the waiter runs: nobody slips between."""
        while path.in_flight < path.capacity.concurrency and (waiter := path.queue.take_next()):
            waiter.turn.set_result(self._take_slot(waiter.ask, path, waiter.demands, counted_at=waiter.since, now=now))

    def _take_slot(
        self, ask: Ask, path: _Path, demands: Sequence[Demand], *, counted_at: float, now: float
    ) -> Admission:
        path.in_flight += 1
        path.admitted += 1
        capacity = ask.capacity
        ipm = capacity.ipm
        moment = self._now()
        rpm_left, tpm_left = path.requests.left(capacity.rpm, now), path.tokens.left(capacity.tpm, now)
        tightest, limit, left = path.requests, capacity.rpm, rpm_left
        for code, window, _, its_limit in demands:
            if code in _OF_REQUESTS and (its_left := window.left(its_limit, now)) < left:
                tightest, limit, left = window, its_limit, its_left
        return Admission(
            ask,
            concurrency_remaining=max(0, capacity.concurrency - path.in_flight),
            rpm_remaining=rpm_left,
            tpm_remaining=tpm_left,
            ipm_remaining=None if ipm is None else path.images.left(ipm, now),
            account_remaining=demands[0][1].left(ask.account_rpm, now),
            resets_at=moment + timedelta(seconds=path.requests.oldest_leaves_in(now)),
            requests=Minute(limit, left, moment + timedelta(seconds=tightest.oldest_leaves_in(now))),
            tokens=Minute(capacity.tpm, tpm_left, moment + timedelta(seconds=path.tokens.oldest_leaves_in(now))),
            queue_ms=round((now - counted_at) * 1000),
            counted_at=counted_at,
        )

    def _shed(self, path: _Path, shed: Shed) -> Shed:
        path.shed[shed.code] += 1
        return shed
