"""Limits per minute under pressure, on two processes: never above in any minute, and nearly all of it is served."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import aiohttp

from tests.faults.callers import Seen, call, http_session, in_background, new_tag
from tests.faults.rig import Rig, own_rig
from tests.faults.table import Row
from tests.faults.wish import Wish
from tests.flows.endpoints import CHAT, IMAGES, MESSAGES, Endpoint
from tests.flows.rig import Person

PRESSURE_S: Final = 135.0
"""Three minutes' worth of calls begin in it: at 0, 61 and 122 s."""
CLIENTS: Final = 6
PAUSE_S: Final = 0.05
WORDS: Final = 200
"""In a prompt."""
ON_THE_WAY_S: Final = 0.5
"""The upstream sees a call this much later than it was counted, at most: so much shorter is what it must not exceed."""
COMES_AGAIN_S: Final = 61.5
"""A bucket of a window leaves when its latest call does, so a minute comes again after up to 61 s, and whoever was
refused comes a moment later."""
LEAST_PERCENT: Final = 95


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of one model, and what a call of it counts."""

    option: str
    value: int
    endpoint: Endpoint
    unit: str

    def weight(self, tokens: int) -> int:
        return tokens if self.option == "tpm" else 1


LIMITS: Final = (
    Limit("rpm", 240, CHAT, "requests"),
    Limit("tpm", 100_000, MESSAGES, "tokens"),
    Limit("ipm", 60, IMAGES, "images"),
)


def run(scale: float = 1.0) -> list[Row]:
    """At least two minutes, whatever the scale: there is no shorter minute."""
    seen: list[Seen] = []
    is_over = threading.Event()
    with own_rig() as rig:
        for limit in LIMITS:
            rig.operator.run("set_policy", limit.endpoint.model, f"--{limit.option}", limit.value)
        people = [rig.person(limit.option, credits=1_000_000) for limit in LIMITS]
        rig.operator.tell_server()
        time.sleep(1.5)  # the other process has heard of it too
        with in_background(lambda: press(people, is_over), is_over, seen):
            time.sleep(max(PRESSURE_S * scale, PRESSURE_S))
        rig.wait_until_resolved()
        violations = rig.prove(seen)
        figures = []
        for limit in LIMITS:
            most, least = measure(rig, limit)
            figures.append(f"{limit.value} {limit.unit}: at most {most}, at least {least} under pressure")
            if most > limit.value:
                violations.append(f"minutes: {most} {limit.unit} in a minute, where {limit.value} may be")
            if least * 100 < LEAST_PERCENT * limit.value:
                violations.append(
                    f"minutes: {least} {limit.unit} of {limit.value} were served in a minute under pressure"
                )
    outcomes = Counter(one.outcome for one in seen)
    strange = set(outcomes) - {"served", *(f"model_{limit.option}" for limit in LIMITS)}
    violations += [f"minutes: {outcomes[outcome]} calls ended {outcome}" for outcome in sorted(strange)]
    told = f"{'; '.join(figures)}; {outcomes['served']} served of {len(seen)}"
    return [Row("limits per minute under pressure", len(seen), violations, told)]


async def press(people: Sequence[Person], is_over: threading.Event) -> list[Seen]:
    """Come again and again, faster than any limit lets in."""
    seen: list[Seen] = []

    async def client(session: aiohttp.ClientSession, person: Person, endpoint: Endpoint) -> None:
        while not is_over.is_set():
            wish = Wish(new_tag("minute"), output=20, padding=WORDS).counted(endpoint)
            seen.append(await call(session, person, endpoint, wish, is_stream=False, **endpoint.at_most(20)))
            await asyncio.sleep(PAUSE_S)

    async with http_session(keep_alive=False) as session:
        await asyncio.gather(
            *(
                client(session, person, limit.endpoint)
                for person, limit in zip(people, LIMITS, strict=True)
                for _ in range(CLIENTS)
            )
        )
    return seen


def measure(rig: Rig, limit: Limit) -> tuple[int, int]:
    """What the upstream got: the most in any minute, and the least that a minute comes to under pressure."""
    with closing(sqlite3.connect(rig.oracle.journal)) as journal:
        rows = journal.execute(
            "SELECT at, input + output FROM call WHERE endpoint = ? ORDER BY at", (limit.endpoint.name,)
        ).fetchall()
    calls = [(at, limit.weight(tokens)) for at, tokens in rows]
    began, ended = calls[0][0], calls[0][0] + PRESSURE_S
    most = max(weight_between(calls, at, at + 60 - ON_THE_WAY_S) for at, _ in calls)
    starts = [began, *(at + 1e-6 for at, _ in calls if at + COMES_AGAIN_S <= ended)]
    least = min(weight_between(calls, at, at + COMES_AGAIN_S) for at in starts)
    return most, int(least * 60 / COMES_AGAIN_S)


def weight_between(calls: Sequence[tuple[float, int]], begin: float, end: float) -> int:
    """From `begin` on, before `end`."""
    return sum(weight for at, weight in calls if begin <= at < end)
