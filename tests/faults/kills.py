"""K1: web processes killed outright at every site of a call's life, under load; then restart, sweep, verify."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.faults.callers import Seen, in_background, load, new_tag
from tests.faults.failpoints import SITES
from tests.faults.installation import Process
from tests.faults.rig import RESOLVED_S, Rig, own_rig
from tests.faults.table import Row
from tests.faults.wish import Wish
from tests.flows.rig import Person

BATCHES: Final = 10
KILLS: Final = 20
"""Per batch."""
CLIENTS: Final = 20
LATEST_HIT: Final = 30
"""A process dies at one of its first so many calls to get to its site."""
KILL_S: Final = 60.0
"""A process that nothing killed for so long never will be."""
SIGKILL: Final = -9


@dataclass(slots=True)
class Batch:
    kills: Counter[str] = field(default_factory=Counter)
    """By site."""
    seen: list[Seen] = field(default_factory=list)
    resolved_s: float = 0.0
    violations: list[str] = field(default_factory=list)


def run(scale: float = 1.0, *, is_embedded: bool = False) -> list[Row]:
    batches, kills = max(1, round(BATCHES * scale)), KILLS if scale >= 1 else len(SITES)
    random.seed(0)
    with own_rig(is_embedded=is_embedded) as rig:
        done = [one_batch(rig, kills) for _ in range(batches)]
    return [as_row(done)]


def as_row(batches: Sequence[Batch]) -> Row:
    kills = sum((batch.kills for batch in batches), Counter[str]())
    seen = [one for batch in batches for one in batch.seen]
    served = sum(one.is_whole for one in seen)
    broken = sum(one.outcome == "broken" for one in seen)
    sites = ", ".join(f"{site} {kills[site]}" for site in SITES)
    slowest = max(batch.resolved_s for batch in batches)
    return Row(
        "K1 kill -9 at every site under load",
        kills.total(),
        [violation for batch in batches for violation in batch.violations],
        f"{sites}; {len(seen):,} calls: {served:,} whole, {broken:,} broken; holds resolved in ≤ {slowest:.0f} s",
    )


def one_batch(rig: Rig, kills: int) -> Batch:
    """Kill and replace under load, until it was so many times; then let everything come to rest, and prove."""
    batch = Batch()
    alice = rig.person("alice")
    rig.operator.tell_server()
    is_over = threading.Event()
    with in_background(lambda: make_calls(alice, is_over), is_over, batch.seen):
        batch.kills = kill(rig, kills)
    batch.resolved_s = rig.wait_until_resolved()
    batch.violations = rig.prove(batch.seen, lost=True)
    if batch.resolved_s >= RESOLVED_S:
        batch.violations.append(f"I7: holds were not resolved within {RESOLVED_S:.0f} s")
    return batch


async def make_calls(alice: Person, is_over: threading.Event) -> list[Seen]:
    return await load(
        alice,
        clients=CLIENTS,
        is_over=is_over.is_set,
        # A connection each, or all callers might stay with a process that nothing kills.
        keep_alive=False,
        wish=lambda number: Wish(new_tag("kill"), parts=6, gap_ms=5 + number % 20),
    )


def kill(rig: Rig, kills: int) -> Counter[str]:
    """Replace every web process by one that dies at a site of its own, and each that died by the next."""
    sites = [site for _ in range(kills // len(SITES) + 1) for site in random.sample(list(SITES), len(SITES))][:kills]
    killed: Counter[str] = Counter()
    rig.gateway.kill_all()
    armed: list[Process] = []
    for site in sites:
        while len(armed) >= rig.gateway.workers:
            armed = bury(rig, armed, killed)
        armed.append(rig.gateway.start_web(f"{site}:kill@{random.randint(1, LATEST_HIT)}", wait=False))
    while armed:
        armed = bury(rig, armed, killed)
        # Whoever is left gets company, so that callers are served while its turn comes.
        if armed and len(rig.gateway.web) < rig.gateway.workers:
            rig.gateway.start_web()
    while len(rig.gateway.web) < rig.gateway.workers:
        rig.gateway.start_web()
    return killed


def bury(rig: Rig, armed: Sequence[Process], killed: Counter[str]) -> list[Process]:
    """Wait until one of them died as it was meant to; return those that live."""
    rig.gateway.wait_for_an_end(list(armed), timeout_s=KILL_S)
    for process in armed:
        if process.has_ended:
            assert process.status == SIGKILL, f"{process}\n{rig.gateway.log[-4_000:]}"
            killed[process.failpoint.partition(":")[0]] += 1
    return [process for process in armed if not process.has_ended]
