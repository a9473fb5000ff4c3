"""M3, K11: budget windows that turn under a rush of calls, and a store's clock that jumps.

No budget is exceeded, nobody is refused what is there, and holds are lost by the dead alone.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from tests.faults.callers import Seen, any_text_stream, call, http_session, in_background, load, new_tag
from tests.faults.races import AFFORDABLE, MONEY, MOST_TOKENS
from tests.faults.rig import EXACT_MODEL, RESOLVED_S, Rig, own_rig
from tests.faults.table import Row
from tests.faults.wish import Wish
from tests.flows.endpoints import TEXT_ENDPOINTS
from tests.flows.rig import Person

TURNS: Final = 10
CALLERS: Final = 40
BEFORE_TURN_S: Final = 1.5
RUSH_S: Final = 3.0
"""Calls come over so long, half of them before the turn."""
HOUR_S: Final = 3_600.0
DAY_S: Final = 24 * HOUR_S
JUMPS_S: Final = (HOUR_S, 0.0, DAY_S, 0.0)
"""Where the store's clock stands after each jump, from the true time: into the next hour and back, the next day and
back. A window that was left is found as it was. (One that the clock goes back to for the first time counts whatever was
spent since it began: too much, never too little.)"""
JUMP_EVERY_S: Final = 12.0
"""Longer than processes take to renew their leases, and than the sweeper takes to come by."""
CLIENTS: Final = 8
DOOMED: Final = 6


def run(scale: float = 1.0) -> list[Row]:
    random.seed(0)
    with own_rig(with_clock=True) as rig:
        turned = turns(rig, max(2, round(TURNS * scale)))
    if scale < 1:
        return [turned]
    with own_rig(with_clock=True) as rig:
        return [turned, jumps(rig, JUMPS_S)]


def turns(rig: Rig, count: int) -> Row:
    """Rushes across the end of an hour, or of a day: each window serves what its budget pays for, to the last call."""
    violations: list[str] = []
    seen: list[Seen] = []
    served: Counter[int] = Counter()
    for number in range(count):
        is_daily = number % 2 == 1
        person = rig.person("turning", "--daily" if is_daily else "--hourly", MONEY)
        rig.operator.tell_server()
        move_to_a_turn(rig, is_daily=is_daily)
        rush = asyncio.run(rush_of(person))
        seen += rush
        outcomes = Counter(one.outcome for one in rush)
        served[outcomes["served"]] += 1
        if outcomes != {"served": 2 * AFFORDABLE, "key_budget_exhausted": CALLERS - 2 * AFFORDABLE}:
            violations.append(f"M3: two windows for {AFFORDABLE} calls each ended {dict(outcomes)}")
    rig.wait_until_resolved()
    assert rig.clock is not None
    rig.clock.move(0)
    violations += rig.prove(seen)
    figures = f"{CALLERS} callers across a turn, money for {AFFORDABLE} in each window: {dict(served)} served"
    return Row("M3 windows turning under load", count, violations, figures)


def move_to_a_turn(rig: Rig, *, is_daily: bool) -> None:
    assert rig.clock is not None
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    turn = hour.replace(hour=0) + timedelta(days=1) if is_daily else hour + timedelta(hours=1)
    rig.clock.move((turn - now).total_seconds() - BEFORE_TURN_S)


async def rush_of(person: Person) -> list[Seen]:
    async with http_session() as session:

        async def one(number: int) -> Seen:
            await asyncio.sleep(RUSH_S * number / CALLERS)
            endpoint = TEXT_ENDPOINTS[number % len(TEXT_ENDPOINTS)]
            wish = Wish(new_tag("turn"), output=MOST_TOKENS, gap_ms=random.randrange(40))
            return await call(
                session, person, endpoint, wish,
                is_stream=True, model=EXACT_MODEL, **endpoint.at_most(MOST_TOKENS),
            )  # fmt: skip

        return await asyncio.gather(*(one(number) for number in range(CALLERS)))


def jumps(rig: Rig, stands: Sequence[float]) -> Row:
    """The store's clock jumps under running streams; then a process dies, and its holds are given back in time."""
    assert rig.clock is not None
    alice = rig.person("alice", "--hourly", 50, "--daily", 80)
    rig.operator.tell_server()
    is_over = threading.Event()
    seen: list[Seen] = []

    async def calls() -> list[Seen]:
        return await load(
            alice, clients=CLIENTS, is_over=is_over.is_set, pick=any_text_stream,
            wish=lambda number: Wish(new_tag("jump"), parts=10, gap_ms=50 + number % 100),
        )  # fmt: skip

    with in_background(calls, is_over, seen):
        time.sleep(1.0)
        for stand in stands:
            rig.clock.move(stand)
            time.sleep(JUMP_EVERY_S)
        expired = rig.gateway.log.count("expired")
    violations = [
        f"K11: {one.wish.tag} ended {one.outcome}"
        for one in seen
        if one.outcome not in {"served", "key_budget_exhausted", "credits_reserved"}
    ]
    if expired:
        violations.append(f"K11: holds of living processes expired:\n{rig.gateway.log[-2_000:]}")
    resolved_s = die(rig)
    if resolved_s >= RESOLVED_S:
        violations.append(f"K11: a dead process's holds were not resolved within {RESOLVED_S:.0f} s of a jump back")
    violations += rig.prove(seen, lost=True, went_back=True)
    outcomes = dict(Counter(one.outcome for one in seen))
    told = ", ".join(f"{stand / HOUR_S:+.0f} h" for stand in stands)
    figures = f"store's clock at {told}: {outcomes}; a dead process's holds resolved in {resolved_s:.0f} s"
    return Row("K11 the store's clock jumps", len(stands), violations, figures)


def die(rig: Rig) -> float:
    """Kill all processes under streams; return how long their credits stayed held."""
    bob = rig.person("bob")
    rig.operator.tell_server()

    async def doomed() -> list[Seen]:
        wishes = (Wish(new_tag("doomed"), parts=20, gap_ms=100) for _ in range(DOOMED))
        async with http_session() as session:
            return await asyncio.gather(
                *(call(session, bob, TEXT_ENDPOINTS[0], wish, is_stream=True) for wish in wishes)
            )

    with in_background(doomed, threading.Event(), []):
        time.sleep(1.0)
        rig.gateway.kill_all()
    assert rig.held_micro()
    for _ in range(rig.gateway.workers):
        rig.gateway.start_web()
    return rig.wait_until_resolved()
