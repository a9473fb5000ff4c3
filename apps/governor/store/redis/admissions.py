"""Admission that all processes share: rates, slots and queues in Redis, one script to admit and one to finish.

A process holds its slots on a lease, and tells Redis what it holds: so a flush heals, and a dead process keeps nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from apps.catalog.rules import Capacity
from apps.core import clock
from apps.governor.rules import NoPlace
from apps.governor.store import refusals
from apps.governor.store.memory import CallLater, Timer, call_later
from apps.governor.store.protocol import Admission, Ask, CallerGone, Minute, ModelFigures, Shed
from apps.governor.store.redis.link import Link, LinkDown, Part
from apps.governor.store.redis.names import Names
from apps.governor.store.redis.scripts import load_script

MICRO: Final = 1_000_000
LEASE_S: Final = 3.5
RENEW_S: Final = 1.0
"""Between renewals: three may be lost before a process is taken for dead."""
TELL_ALL_EVERY: Final = 5
"""Every so many renewals a process tells every slot that it has."""
UNKNOWN_AGE_S: Final = 10.0
"""A slot that is ours and that we do not know, for so long, is of an admission whose answer was lost."""
POLL_S: Final = 0.25
"""While a call of ours waits: catches up with a message that was lost."""

_ADMIT: Final = load_script("admit")
_FINISH: Final = load_script("finish")
_LEAVE: Final = load_script("leave")
_CONFIRM: Final = load_script("confirm")
_POLL: Final = load_script("poll")
_RENEW: Final = load_script("renew")
_FIGURES: Final = load_script("figures")

_HAS_SLOT, _NO_RATE, _NO_PLACE, _WAITS = range(4)
_RATES: Final = ("account_rpm", "key_rpm", "key_model_rpm", "model_rpm", "model_tpm", "model_ipm")
_BOUNDS: Final = ("concurrency", "queue_length", "queue_tokens", "account_queue_length", "account_queue_tokens")
_IS_WAITING, _IS_HANDED, _IS_UNKNOWN = range(3)


@dataclass(slots=True, eq=False)
class _Waiter:
    """A call of this process that waits. `turn`: it was handed a slot, or why it gets none."""

    ask: Ask
    call_id: str
    since: float
    turn: asyncio.Future[None]


@dataclass(slots=True, eq=False)
class _Path:
    """What this process knows of one model."""

    capacity: Capacity
    held: dict[str, int] = field(default_factory=dict)
    """Slots of ours: when each was counted, in microseconds of the scripts' clock."""
    waiting: dict[str, _Waiter] = field(default_factory=dict)
    admitted: int = 0
    shed: Counter[str] = field(default_factory=Counter)


class RedisAdmissions:
    """The admission half of a Governor. Raises LinkDown where Redis is away, also to those who wait."""

    def __init__(
        self,
        link: Link,
        names: Names,
        *,
        process_id: uuid.UUID,
        monotonic: clock.Monotonic = clock.monotonic,
        now: Callable[[], datetime] = clock.now,
        call_later: CallLater = call_later,
        told_time: Callable[[], str] = str,
    ) -> None:
        self._link = link
        self._names = names
        self._process = names.turns(process_id)
        self._monotonic = monotonic
        self._now = now
        self._call_later = call_later
        self._told_time = told_time
        """The scripts' clock, where it is not Redis' own."""
        self._paths: dict[str, _Path] = {}
        self._numbers = itertools.count(1)
        self._renewals = itertools.count(1)
        self._timers: dict[str, Timer] = {}
        link.subscribe(self._process, self._on_turn)
        link.on_up.append(partial(self.renew_all, tells=True, unknown_age_s=0.0))

    def start(self) -> None:
        """Begin to renew leases."""
        self._timers["renew"] = self._call_later(RENEW_S, self._renew_again)

    def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    async def admit(self, ask: Ask, *, gone: Awaitable[object] | None = None) -> Admission:
        """See Governor. Raises: Shed, CallerGone, LinkDown."""
        path = self._path(ask)
        call_id = self._next_id()
        began_at = self._monotonic()
        reply = await self._ask(ask, call_id)
        if reply[0] == _HAS_SLOT:
            return self._take_slot(path, ask, call_id, reply, counted_at_us=reply[1], queue_ms=0)
        if reply[0] == _NO_RATE:
            raise self._shed(path, self._rate_exceeded(ask, *reply[2:]))
        if reply[0] == _NO_PLACE:
            bound, value, used, wait_us = reply[2:]
            no_place = NoPlace(_BOUNDS[bound - 1], value, used, is_own=bound > 3)
            wait_s = None if wait_us < 0 else wait_us / MICRO
            raise self._shed(path, refusals.queue_full(no_place, model_id=ask.model_id, wait_s=wait_s, now=self._now()))
        return await self._wait(path, ask, call_id, counted_at_us=reply[1], began_at=began_at, gone=gone)

    async def _ask(self, ask: Ask, call_id: str) -> Any:
        """Ask to be admitted. Where the answer does not come, whatever became of it is given back."""
        capacity = ask.capacity
        try:
            return await self._link.call(
                _ADMIT,
                self._keys(ask),
                [
                    self._told_time(),
                    self._full(call_id),
                    self._process,
                    ask.account_id.hex,
                    ask.key_id.hex,
                    ask.model_id,
                    ask.tokens,
                    ask.images,
                    *self._limits(ask),
                    capacity.concurrency,
                    capacity.queue_s * MICRO,
                    capacity.queue_length,
                    capacity.queue_tokens,
                    round(LEASE_S * MICRO),
                ],
            )
        except (LinkDown, asyncio.CancelledError):
            self._leave(ask, call_id)
            raise

    def finish(self, admission: Admission, *, tokens: int | None) -> None:
        """See Governor."""
        if admission.is_finished:
            return
        admission.is_finished = True
        ask = admission.ask
        path = self._paths[ask.model_id]
        counted_at_us = path.held.pop(admission.call_id, 0)
        self._link.tell(
            _FINISH,
            [self._names.model(ask.model_id)],
            [
                self._told_time(),
                self._full(admission.call_id),
                path.capacity.concurrency,
                counted_at_us,
                ask.tokens - (tokens or 0),
                ask.images if tokens is None else 0,
            ],
        )

    def adopt(self, ask: Ask) -> str:
        """Take over a slot that was given while Redis was away; return what it is known by. Told with `renew_all`."""
        call_id = self._next_id()
        self._path(ask).held[call_id] = 0
        return call_id

    def release(self, ask: Ask, call_id: str) -> None:
        """Give an adopted slot back: it counted nothing here."""
        path = self._paths[ask.model_id]
        path.held.pop(call_id, None)
        self._link.tell(
            _FINISH,
            [self._names.model(ask.model_id)],
            [self._told_time(), self._full(call_id), path.capacity.concurrency, 0, 0, 0],
        )

    async def figures(self) -> dict[str, ModelFigures]:
        """See Governor. Raises: LinkDown."""
        paths = dict(self._paths)
        told = self._told_time()
        replies = await asyncio.gather(
            *(self._link.call(_FIGURES, [self._names.model(model_id)], [told]) for model_id in paths)
        )
        return {
            model_id: ModelFigures(
                concurrency=path.capacity.concurrency,
                in_flight=in_flight,
                queued=queued,
                queued_tokens=queued_tokens,
                requests_in_minute=requests,
                tokens_in_minute=tokens,
                images_in_minute=images,
                admitted=path.admitted,
                shed=dict(path.shed),
            )
            for (model_id, path), (in_flight, queued, queued_tokens, requests, tokens, images) in zip(
                paths.items(), replies, strict=True
            )
        }

    def _path(self, ask: Ask) -> _Path:
        path = self._paths.get(ask.model_id)
        if path is None:
            path = self._paths[ask.model_id] = _Path(ask.capacity)
        else:
            path.capacity = ask.capacity
        return path

    def _take_slot(
        self, path: _Path, ask: Ask, call_id: str, reply: Sequence[int], *, counted_at_us: int, queue_ms: int
    ) -> Admission:
        """The admission that a script's answer tells: `{0, now, in flight, used and leaving of each rate}`."""
        path.admitted += 1
        path.held[call_id] = counted_at_us
        capacity, moment = ask.capacity, self._now()
        used, leaves = reply[3::2], reply[4::2]
        limits = (ask.account_rpm, ask.key_rpm, ask.key_model_rpm, capacity.rpm)
        left = [None if limit is None else max(0, limit - each) for limit, each in zip(limits, used, strict=False)]
        tightest, rpm_left = 3, max(0, capacity.rpm - used[3])
        least = rpm_left
        for index, its_left in enumerate(left):
            if its_left is not None and its_left < least:
                tightest, least = index, its_left
        limit = limits[tightest]
        assert limit is not None
        tpm_left = max(0, capacity.tpm - used[4])
        return Admission(
            ask,
            concurrency_remaining=max(0, capacity.concurrency - reply[2]),
            rpm_remaining=rpm_left,
            tpm_remaining=tpm_left,
            ipm_remaining=None if capacity.ipm is None else max(0, capacity.ipm - used[5]),
            account_remaining=max(0, ask.account_rpm - used[0]),
            resets_at=moment + timedelta(microseconds=leaves[3]),
            requests=Minute(limit, least, moment + timedelta(microseconds=leaves[tightest])),
            tokens=Minute(capacity.tpm, tpm_left, moment + timedelta(microseconds=leaves[4])),
            queue_ms=queue_ms,
            call_id=call_id,
        )

    def _rate_exceeded(self, ask: Ask, rate: int, used: int, wait_us: int) -> Shed:
        code = _RATES[rate - 1]
        capacity = ask.capacity
        limits = (ask.account_rpm, ask.key_rpm, ask.key_model_rpm, capacity.rpm, capacity.tpm, capacity.ipm)
        limit = limits[rate - 1]
        assert limit is not None
        asked = {"model_tpm": ask.tokens, "model_ipm": ask.images}.get(code, 1)
        return refusals.rate_exceeded(
            code,
            model_id=ask.model_id,
            asked=asked,
            value=limit,
            used=used,
            wait_s=wait_us / MICRO,
            now=self._now(),
        )

    async def _wait(
        self,
        path: _Path,
        ask: Ask,
        call_id: str,
        *,
        counted_at_us: int,
        began_at: float,
        gone: Awaitable[object] | None,
    ) -> Admission:
        """Wait for the turn. Whatever ends the wait but an admission gives back place, rates and any slot."""
        waiter = _Waiter(ask, call_id, began_at, asyncio.get_running_loop().create_future())
        path.waiting[call_id] = waiter
        self._poll_soon()
        hung_up = None if gone is None else asyncio.ensure_future(gone)
        timer = self._call_later(ask.capacity.queue_s, partial(_give_up, waiter))
        on_hang_up = partial(_dismiss, waiter)
        if hung_up is not None:
            hung_up.add_done_callback(on_hang_up)
        try:
            await waiter.turn
            if hung_up is not None and _has_hung_up(hung_up):
                raise CallerGone
            reply = await self._link.call(
                _CONFIRM,
                self._keys(ask),
                [self._told_time(), self._full(call_id), ask.key_id.hex, ask.model_id, *self._limits(ask)],
            )
            if reply[0] != _HAS_SLOT:
                raise _TooLate
        except _TooLate:
            in_flight = await self._leave(ask, call_id)
            raise self._shed(path, refusals.queue_timeout(ask, in_flight=in_flight)) from None
        except BaseException:
            self._leave(ask, call_id)
            raise
        finally:
            path.waiting.pop(call_id, None)
            timer.cancel()
            if hung_up is not None:
                hung_up.remove_done_callback(on_hang_up)
                if hung_up is not gone:
                    hung_up.cancel()
        queue_ms = round((self._monotonic() - began_at) * 1000)
        return self._take_slot(path, ask, call_id, reply, counted_at_us=counted_at_us, queue_ms=queue_ms)

    def _leave(self, ask: Ask, call_id: str) -> asyncio.Future[Any]:
        left = self._link.call(
            _LEAVE,
            self._keys(ask),
            [
                self._told_time(),
                self._full(call_id),
                ask.capacity.concurrency,
                ask.key_id.hex,
                ask.model_id,
                ask.tokens,
                ask.images,
                *self._limits(ask),
            ],
        )
        left.add_done_callback(_look_away)
        return left

    def _on_turn(self, message: bytes) -> None:
        self._hand(message.decode().partition("/")[0])

    def _hand(self, call_id: str) -> None:
        for path in self._paths.values():
            waiter = path.waiting.get(call_id)
            if waiter is not None and not waiter.turn.done():
                waiter.turn.set_result(None)

    def _poll_soon(self) -> None:
        if "poll" not in self._timers:
            self._timers["poll"] = self._call_later(POLL_S, self._poll)

    def _poll(self) -> None:
        """Ask what became of those who wait; send them away where Redis is away."""
        self._timers.pop("poll", None)
        for model_id, path in self._paths.items():
            if not path.waiting:
                continue
            self._poll_soon()
            if not self._link.is_up:
                for waiter in path.waiting.values():
                    _end(waiter, LinkDown("Redis went away"))
                continue
            waiters = list(path.waiting.values())
            states = self._link.call(
                _POLL,
                [self._names.model(model_id)],
                [self._told_time(), path.capacity.concurrency, *(self._full(each.call_id) for each in waiters)],
            )
            states.add_done_callback(partial(self._on_states, waiters))

    def _on_states(self, waiters: Sequence[_Waiter], states: asyncio.Future[Any]) -> None:
        if states.cancelled() or states.exception() is not None:
            return
        for waiter, state in zip(waiters, states.result(), strict=True):
            if state == _IS_HANDED:
                self._hand(waiter.call_id)
            elif state == _IS_UNKNOWN:
                # Redis has forgotten it, or has given it up.
                _end(waiter, LinkDown("Redis has forgotten who waits"))

    def _renew_again(self) -> None:
        self._timers["renew"] = self._call_later(RENEW_S, self._renew_again)
        tells = next(self._renewals) % TELL_ALL_EVERY == 0
        self.renew_all(tells=tells, unknown_age_s=UNKNOWN_AGE_S)

    def renew_all(self, *, tells: bool, unknown_age_s: float) -> None:
        """Renew this process' leases. `tells`: with every slot that it has; slots of its own that it does not know, and
        that are older than `unknown_age_s`, are then nobody's."""
        for model_id, path in self._paths.items():
            held = [part for call_id, since in path.held.items() for part in (self._full(call_id), since)]
            renewed = self._link.call(
                _RENEW,
                [self._names.model(model_id)],
                [
                    self._told_time(),
                    self._process,
                    round(LEASE_S * MICRO),
                    path.capacity.concurrency,
                    round(unknown_age_s * MICRO) if tells else -1,
                    *(held if tells else ()),
                ],
            )
            if not tells:
                renewed.add_done_callback(partial(self._on_renewed, path))
            else:
                renewed.add_done_callback(_look_away)

    def _on_renewed(self, path: _Path, renewed: asyncio.Future[Any]) -> None:
        """Where Redis did not know us, it has forgotten what we hold."""
        if not renewed.cancelled() and renewed.exception() is None and not renewed.result() and path.held:
            self.renew_all(tells=True, unknown_age_s=UNKNOWN_AGE_S)

    def _keys(self, ask: Ask) -> tuple[str, str]:
        return self._names.model(ask.model_id), self._names.account(ask.account_id)

    def _next_id(self) -> str:
        return f"{next(self._numbers):012x}"

    def _full(self, call_id: str) -> str:
        """A call's name among all processes: who came first among equals is told by its number."""
        return f"{call_id}/{self._process}"

    @staticmethod
    def _limits(ask: Ask) -> tuple[Part, ...]:
        capacity = ask.capacity
        limits = (ask.account_rpm, ask.key_rpm, ask.key_model_rpm, capacity.rpm, capacity.tpm, capacity.ipm)
        return tuple("" if limit is None else limit for limit in limits)

    def _shed(self, path: _Path, shed: Shed) -> Shed:
        path.shed[shed.code] += 1
        return shed


class _TooLate(Exception):
    """No slot came free in time."""


def _end(waiter: _Waiter, error: Exception) -> None:
    if not waiter.turn.done():
        waiter.turn.set_exception(error)


def _give_up(waiter: _Waiter) -> None:
    _end(waiter, _TooLate())


def _has_hung_up(gone: asyncio.Future[object]) -> bool:
    """A watcher that was cancelled only stopped watching."""
    return gone.done() and not gone.cancelled()


def _dismiss(waiter: _Waiter, gone: asyncio.Future[object]) -> None:
    if _has_hung_up(gone):
        _end(waiter, CallerGone())


def _look_away(answer: asyncio.Future[Any]) -> None:
    """Nobody acts upon this one; unread, its failure would be told as a mistake."""
    if not answer.cancelled():
        answer.exception()
