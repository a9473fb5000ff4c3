"""Calls of this process in the scripts' words: what they are told of one, and what they answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from apps.catalog.rules import Capacity
from apps.governor.rules import Load, check_place
from apps.governor.store import refusals
from apps.governor.store.protocol import Admission, Ask, Minute, Shed
from apps.governor.store.redis.link import Part
from apps.governor.store.redis.names import Names

MICRO: Final = 1_000_000
LOST, ADMITTED, WAITS, NO_RATE, NO_PLACE = range(5)
"""How an answer begins."""


@dataclass(slots=True, eq=False)
class Path:
    """What this process knows of one model."""

    model_id: str
    base: str
    capacity: Capacity
    limits: tuple[Part, ...]
    """The capacity as the scripts are told it."""
    held: dict[int, int] = field(default_factory=dict)
    """The calls that have a slot: when each was counted, in microseconds of the scripts' clock."""
    is_settled: bool = False
    """Redis was told that this process has nothing here, and nothing came since."""
    admitted: int = 0
    shed: Counter[str] = field(default_factory=Counter)

    def follow(self, capacity: Capacity) -> None:
        """Go by this policy from now on."""
        if capacity is not self.capacity:
            self.capacity, self.limits = capacity, told_limits(capacity)


@dataclass(slots=True, eq=False)
class Call:
    """One call from the door to its slot."""

    number: int
    ask: Ask
    path: Path
    keys: tuple[Part, ...]
    args: tuple[Part, ...]
    """What each script about it is told, after the time."""
    counted_at_us: int = 0
    arrival_us: int = 0
    has_turn: bool = False
    turn: asyncio.Future[None] | None = None
    """Once it waits: it was handed a slot, or why it gets none."""

    def hand(self) -> None:
        """A slot was handed to it: perhaps before its process has read that it waits."""
        self.has_turn = True
        if self.turn is not None and not self.turn.done():
            self.turn.set_result(None)

    def end(self, error: Exception) -> None:
        if self.turn is not None and not self.turn.done():
            self.turn.set_exception(error)

    def told_place(self) -> tuple[Part, ...]:
        """Its place in the queue, for a Redis that has forgotten it."""
        deadline_us = self.counted_at_us + self.ask.capacity.queue_s * MICRO
        who = self.ask.account_id.hex
        return (self.number, self.arrival_us, who, self.ask.tokens, self.counted_at_us, deadline_us)


def told_limits(capacity: Capacity) -> tuple[Part, ...]:
    ipm: Part = "" if capacity.ipm is None else capacity.ipm
    queue_us = capacity.queue_s * MICRO
    rates = (capacity.concurrency, capacity.rpm, capacity.tpm, ipm)
    return (*rates, queue_us, capacity.queue_length, capacity.queue_tokens)


def name_call(number: int, ask: Ask, path: Path, *, process: str, turns: str) -> Call:
    """A call as `ask.lua` reads it."""
    account = Names.account(ask.account_id)
    keys: list[Part] = [path.base, f"{account}:rpm"]
    limits: list[Part] = [ask.account_rpm]
    if ask.key_rpm is not None or ask.key_model_rpm is not None:
        key = f"{account}:key:{ask.key_id.hex}"
        if ask.key_rpm is not None:
            keys.append(key)
            limits.append(ask.key_rpm)
        if ask.key_model_rpm is not None:
            keys.append(f"{key}:{ask.model_id}")
            limits.append(ask.key_model_rpm)
    whose = (f"{process}:{number}", turns, ask.account_id.hex)
    return Call(number, ask, path, tuple(keys), (*whose, ask.tokens, ask.images, *path.limits, *limits))


def admission_of(call: Call, told: Sequence[int], *, queue_ms: int, moment: datetime) -> Admission:
    """The admission that `figures` in ask.lua tells."""
    _, _, counted_at, in_flight, rpm, rpm_us, tpm, tpm_us, ipm, account, limit, left, left_us = told
    capacity = call.ask.capacity
    return Admission(
        call.ask,
        concurrency_remaining=max(0, capacity.concurrency - in_flight),
        rpm_remaining=rpm,
        tpm_remaining=tpm,
        ipm_remaining=None if ipm < 0 else ipm,
        account_remaining=account,
        resets_at=moment + timedelta(microseconds=rpm_us),
        requests=Minute(limit, left, moment + timedelta(microseconds=left_us)),
        tokens=Minute(capacity.tpm, tpm, moment + timedelta(microseconds=tpm_us)),
        queue_ms=queue_ms,
        counted_at=counted_at / MICRO,
        call_id=str(call.number),
    )


def refusal_of(call: Call, told: Sequence[int], *, moment: datetime) -> Shed:
    """The refusal that admit.lua tells, by a rate or for want of a place."""
    if told[0] == NO_RATE:
        return _rate_refusal(call.ask, *told[2:], moment=moment)
    calls, tokens, own_calls, own_tokens, first_us, own_first_us = told[2:]
    ask = call.ask
    no_place = check_place(
        capacity=ask.capacity, queued=Load(calls, tokens), own=Load(own_calls, own_tokens), tokens=ask.tokens
    )
    assert no_place is not None, "admit.lua decides as check_place does"
    wait_us = own_first_us if no_place.is_own else first_us
    wait_s = None if wait_us < 0 else wait_us / MICRO
    return refusals.queue_full(no_place, model_id=ask.model_id, wait_s=wait_s, now=moment)


def _rate_refusal(ask: Ask, place: int, used: int, wait_us: int, *, moment: datetime) -> Shed:
    rates = [
        ("account_rpm", 1, ask.account_rpm),
        ("key_rpm", 1, ask.key_rpm),
        ("key_model_rpm", 1, ask.key_model_rpm),
        ("model_rpm", 1, ask.capacity.rpm),
        ("model_tpm", ask.tokens, ask.capacity.tpm),
        ("model_ipm", ask.images, ask.capacity.ipm),
    ]
    code, asked, value = [(code, asked, value) for code, asked, value in rates if value is not None][place - 1]
    return refusals.rate_exceeded(
        code, model_id=ask.model_id, asked=asked, value=value, used=used, wait_s=wait_us / MICRO, now=moment
    )
