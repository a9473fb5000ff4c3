"""What holds after any sequence of arrivals, ends, cancels, hang-ups and waits. A store's tests subclass this."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.governor.store.protocol import Admission, Ask, Shed
from tests.governor.rig import ALICE, BOB, CHARLIE, MODEL, Rig, RigContract, ask, capacity

POLICY = capacity(concurrency=2, rpm=9, tpm=1_000, queue_s=5, queue_length=4, queue_tokens=600)
ACCOUNT_RPM = 6

EIGHTHS_OF_SECONDS = st.integers(min_value=1, max_value=240)
"""Binary fractions, so that times add up exactly."""

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.sampled_from([ALICE, BOB, CHARLIE]), st.integers(0, 300)),
        st.tuples(st.just("finish"), st.integers(0, 9), st.one_of(st.none(), st.integers(0, 100))),
        st.tuples(st.just("cancel"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("hang up"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("wait"), EIGHTHS_OF_SECONDS, st.none()),
    ),
    max_size=60,
)


@dataclass(eq=False)
class Call:
    account_id: uuid.UUID
    began_at: float
    tokens: int
    task: asyncio.Task[Admission]
    gone: asyncio.Future[None]
    used: int | None = None

    @property
    def admission(self) -> Admission | None:
        is_served = self.task.done() and not self.task.cancelled() and self.task.exception() is None
        return self.task.result() if is_served else None


@dataclass
class Play:
    """Runs the steps and keeps books of its own."""

    rig: Rig
    calls: list[Call] = field(default_factory=list)
    served: list[Call] = field(default_factory=list)

    def running(self) -> list[Call]:
        return [call for call in self.served if call.admission and not call.admission.is_finished]

    def waiting(self) -> list[Call]:
        return [call for call in self.calls if not call.task.done()]

    async def step(self, kind: str, first: Any, second: Any) -> None:
        if kind == "call":
            await self._call(first, tokens=second)
        elif kind == "wait":
            await self.rig.advance(first / 8)
        elif kind == "finish" and (running := self.running()):
            self._finish(running[first % len(running)], saved=second)
        elif kind in ("cancel", "hang up") and (waiting := self.waiting()):
            call = waiting[first % len(waiting)]
            if second and (running := self.running()):  # a slot is handed over in the same tick
                self._finish(running[0], saved=0)
            if kind == "cancel":
                call.task.cancel()
            else:
                call.gone.set_result(None)
        await self.rig.settle()
        await self._check()

    async def _call(self, who: uuid.UUID, *, tokens: int) -> None:
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        began_at = self.rig.clock.monotonic()
        call = ask(who, tokens=tokens, account_rpm=ACCOUNT_RPM, limits=POLICY)
        self.calls.append(Call(who, began_at, tokens, await self.rig.start(call, gone=gone), gone))

    def _finish(self, call: Call, *, saved: int | None) -> None:
        """End a call; `saved`: how many tokens it used less than estimated, None: it used nothing at all."""
        assert call.admission is not None
        used = None if saved is None else max(0, call.tokens - saved)
        call.used = used or 0
        self.rig.governor.finish(call.admission, tokens=used)

    async def _check(self) -> None:
        fresh = [call for call in self.calls if call.admission and call not in self.served]
        self.served += fresh
        assert fresh == sorted(fresh, key=self.calls.index), "served in another order than they came"
        for call in fresh:
            overtaken = [each for each in self.waiting() if self.calls.index(each) < self.calls.index(call)]
            assert overtaken == [], "somebody who came earlier still waits"
        figures = (await self.rig.governor.figures()).get(MODEL)
        if figures is not None:
            assert figures.in_flight == len(self.running()) <= POLICY.concurrency
            assert figures.queued == len(self.waiting()) <= POLICY.queue_length
            assert figures.queued_tokens == sum(call.tokens for call in self.waiting()) <= POLICY.queue_tokens
        for who in (ALICE, BOB, CHARLIE):
            assert sum(call.account_id == who for call in self.waiting()) <= POLICY.queue_length // 2

    async def end(self) -> None:
        """All calls end, by themselves or by their deadline: nothing is left taken, and nothing was above a limit."""
        while self.running() or self.waiting():
            for call in self.running():
                self._finish(call, saved=0)
            await self.rig.settle()
            await self._check()
        figures = (await self.rig.governor.figures()).get(MODEL)
        if figures is None:
            return
        now = self.rig.clock.monotonic()
        assert (figures.in_flight, figures.queued, figures.queued_tokens) == (0, 0, 0)
        assert figures.admitted >= len(self.served)
        assert sum(figures.shed.values()) == sum(
            call.task.done() and not call.task.cancelled() and isinstance(call.task.exception(), Shed)
            for call in self.calls
        )
        surely, perhaps = self._in_minute(now), self._in_minute(now, seconds=61)
        assert len(surely) <= figures.requests_in_minute <= len(perhaps)
        assert sum(call.used or 0 for call in surely) <= figures.tokens_in_minute
        assert figures.tokens_in_minute <= sum(call.used or 0 for call in perhaps)
        for last in self.served:
            minute = self._in_minute(last.began_at)
            assert len(minute) <= POLICY.rpm
            assert sum(call.used or 0 for call in minute) <= POLICY.tpm
            assert sum(call.account_id == last.account_id for call in minute) <= ACCOUNT_RPM

    def _in_minute(self, until: float, *, seconds: int = 60) -> list[Call]:
        return [call for call in self.served if until - seconds < call.began_at <= until]


class GovernorProperties(RigContract):
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(steps=STEPS)
    def test_no_limit_is_passed_and_nothing_leaks(self, steps: list[tuple[str, Any, Any]]) -> None:
        async def play() -> None:
            rig = await self.make_rig()
            played = Play(rig)
            try:
                for step in steps:
                    await played.step(*step)
                await played.end()
            finally:
                await rig.close()

        asyncio.run(play())

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(steps=STEPS)
    def test_a_promised_retry_passes(self, steps: list[tuple[str, Any, Any]]) -> None:
        """Where nobody else calls meanwhile, a call that comes back after `retry_after_s` is past that rate."""

        async def play() -> None:
            rig = await self.make_rig()
            played = Play(rig)
            try:
                for step in steps:
                    await played.step(*step)
                for call in played.running():
                    played._finish(call, saved=0)
                    await rig.settle()
                await self._come_back(rig)
            finally:
                await rig.close()

        asyncio.run(play())

    async def _come_back(self, rig: Rig) -> None:
        call = ask(ALICE, tokens=300, account_rpm=ACCOUNT_RPM, limits=capacity(concurrency=99, rpm=9, tpm=1_000))
        refusals = [await self._refusal(rig, call)]
        while (shed := refusals[-1]) is not None and len(refusals) < 4:
            assert shed.retry_after_s is not None
            assert 1 <= shed.retry_after_s <= 60
            await rig.advance(shed.retry_after_s)
            refusals.append(await self._refusal(rig, call))
        codes = [shed.code for shed in refusals if shed is not None]
        assert refusals[-1] is None
        assert len(codes) == len(set(codes)), "a promise was not kept"

    async def _refusal(self, rig: Rig, call: Ask) -> Shed | None:
        try:
            await rig.governor.admit(call)
        except Shed as shed:
            return shed
        return None
