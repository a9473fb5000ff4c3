"""Admission that all processes share: rates, slots and queues in Redis, one script to admit and one to finish."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any, Final

from apps.core import clock
from apps.governor.store import refusals
from apps.governor.store.hang_up import HangUp
from apps.governor.store.memory import CallLater, call_later
from apps.governor.store.protocol import Admission, Ask, CallerGone, ModelFigures, Shed
from apps.governor.store.redis.calls import ADMITTED, LOST, WAITS, Call, admission_of, name_call, refusal_of
from apps.governor.store.redis.holdings import Holdings
from apps.governor.store.redis.link import Link, LinkDown
from apps.governor.store.redis.names import Names
from apps.governor.store.redis.scripts import Script, load_script

_ADMIT: Final = load_script("admit")
_CONFIRM: Final = load_script("confirm")
_FINISH: Final = load_script("finish")
_LEAVE: Final = load_script("leave")
_FIGURES: Final = load_script("figures")


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
        self._monotonic = monotonic
        self._now = now
        self._call_later = call_later
        self._told_time = told_time
        """The scripts' clock, where it is not Redis' own."""
        self._numbers = itertools.count(1)
        link.on_up.append(self._load_scripts)
        self._holdings = Holdings(link, names, process_id=process_id, call_later=call_later, told_time=told_time)

    def start(self) -> None:
        """Begin to renew leases."""
        self._holdings.start()

    def stop(self) -> None:
        self._holdings.stop()

    async def admit(self, ask: Ask, *, gone: Awaitable[object] | None = None) -> Admission:
        """See Governor. Raises: Shed, CallerGone, LinkDown."""
        if not self._link.is_up:
            raise LinkDown("Redis is away")
        holdings, number = self._holdings, next(self._numbers)
        path = holdings.path(ask.model_id, ask.capacity)
        call = name_call(number, ask, path, process=holdings.process, turns=holdings.turns)
        began_at = self._monotonic()
        holdings.asked[number] = call
        try:
            told = await self._run(_ADMIT, call)
            if not told[1] and (path.held or holdings.waiting):
                holdings.renew(path)
        except BaseException:
            # Whether it was admitted is not known, or nobody wants to know any more.
            self._leave(call)
            raise
        finally:
            del holdings.asked[number]
        if told[0] == ADMITTED:
            return self._take_slot(call, told, queue_ms=0)
        if told[0] == WAITS:
            call.counted_at_us, call.arrival_us = told[2:]
            told = await self._wait(call, began_at=began_at, gone=gone)
            return self._take_slot(call, told, queue_ms=round((self._monotonic() - began_at) * 1000))
        raise self._shed(call, refusal_of(call, told, moment=self._now()))

    def finish(self, admission: Admission, *, tokens: int | None) -> None:
        """See Governor. Where Redis is away, it is told once it is there."""
        if admission.is_finished:
            return
        admission.is_finished = True
        ask = admission.ask
        self._finish(
            ask, admission.call_id, spare=ask.tokens - (tokens or 0), images=ask.images if tokens is None else 0
        )

    def adopt(self, ask: Ask) -> str:
        """Count a slot that was given while Redis was away; return what it is known by. Renewals tell of it."""
        number = next(self._numbers)
        self._holdings.adopt(number, ask)
        return str(number)

    def release(self, ask: Ask, call_id: str) -> None:
        """Give an adopted slot back: it counted nothing here, and while Redis is away there is nothing to tell."""
        if self._link.is_up:
            self._finish(ask, call_id, spare=0, images=0)
        else:
            self._holdings.paths[ask.model_id].held.pop(int(call_id), None)

    async def figures(self) -> dict[str, ModelFigures]:
        """See Governor. Raises: LinkDown."""
        paths, told_time = list(self._holdings.paths.values()), self._told_time()
        answers = await asyncio.gather(
            *(self._link.call(_FIGURES, (path.base,), (told_time, self._holdings.turns)) for path in paths)
        )
        return {
            path.model_id: ModelFigures(
                concurrency=told[0] or path.capacity.concurrency,
                in_flight=told[1],
                queued=told[2],
                queued_tokens=told[3],
                requests_in_minute=told[4],
                tokens_in_minute=told[5],
                images_in_minute=told[6],
                admitted=path.admitted,
                shed=dict(path.shed),
            )
            for path, told in zip(paths, answers, strict=True)
        }

    def _load_scripts(self) -> None:
        """Before the first is needed: one that Redis does not know is sent again, overtaken by what was sent since."""
        for script in (_ADMIT, _CONFIRM, _FINISH, _LEAVE, _FIGURES):
            self._link.command("SCRIPT", "LOAD", script.text).add_done_callback(_look_away)

    def _run(self, script: Script, call: Call) -> asyncio.Future[Any]:
        return self._link.call(script, call.keys, (self._told_time(), *call.args))

    async def _wait(self, call: Call, *, began_at: float, gone: Awaitable[object] | None) -> Any:
        """Wait for the turn and take it up. Whatever ends the wait but an admission gives back all that was taken."""
        holdings, queue_s = self._holdings, call.ask.capacity.queue_s
        holdings.wait(call)
        hang_up = HangUp(gone, lambda: call.end(CallerGone()))
        timer = self._call_later(queue_s, partial(self._time_out, call))
        try:
            while True:
                assert call.turn is not None
                await call.turn
                told = await self._run(_CONFIRM, call)
                if hang_up.has_happened:
                    raise CallerGone
                if told[0] != LOST:
                    return told
                # Too late: the next has the slot. It waits where it stood.
                call.has_turn = False
                holdings.wait(call)
                if self._monotonic() >= began_at + queue_s:
                    self._time_out(call)
                else:
                    holdings.renew(call.path)
        except BaseException:
            self._leave(call)
            raise
        finally:
            holdings.waiting.pop(call.number, None)
            timer.cancel()
            hang_up.stop()

    def _time_out(self, call: Call) -> None:
        if call.turn is not None and not call.turn.done():
            # None of the slots came free, else the first who waits would have it.
            in_flight = call.ask.capacity.concurrency
            call.turn.set_exception(self._shed(call, refusals.queue_timeout(call.ask, in_flight=in_flight)))

    def _take_slot(self, call: Call, told: Any, *, queue_ms: int) -> Admission:
        call.path.admitted += 1
        call.path.held[call.number] = told[2]
        return admission_of(call, told, queue_ms=queue_ms, moment=self._now())

    def _leave(self, call: Call) -> None:
        self._holdings.tell(_LEAVE, call.keys, call.args)

    def _finish(self, ask: Ask, call_id: str, *, spare: int, images: int) -> None:
        holdings = self._holdings
        path = holdings.paths[ask.model_id]
        path.held.pop(int(call_id), None)
        name = f"{holdings.process}:{call_id}"
        holdings.tell(_FINISH, (path.base,), (name, holdings.turns, spare, images))

    def _shed(self, call: Call, shed: Shed) -> Shed:
        call.path.shed[shed.code] += 1
        return shed


def _look_away(answer: asyncio.Future[Any]) -> None:
    """Nobody acts upon this one; unread, its failure would be told as a mistake."""
    if not answer.cancelled():
        answer.exception()
