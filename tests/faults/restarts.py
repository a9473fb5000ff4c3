"""K2: web processes replaced one after the other under streams: each stream ends whole and billed."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from typing import Final

from tests.faults.callers import Seen, any_text_stream, in_background, load, new_tag
from tests.faults.rig import Rig, own_rig
from tests.faults.table import Row
from tests.faults.wish import Wish

ROUNDS: Final = 5
"""In each, every web process is replaced."""
CLIENTS: Final = 20
DRAINED_S: Final = 30.0


def run(scale: float = 1.0) -> list[Row]:
    rounds = max(1, round(ROUNDS * scale))
    seen: list[Seen] = []
    is_over = threading.Event()
    slowest = 0.0
    with own_rig() as rig:
        alice = rig.person("alice")
        rig.operator.tell_server()

        async def calls() -> list[Seen]:
            # A connection each: who reuses one at the moment that it is closed would have to try again.
            return await load(
                alice, clients=CLIENTS, is_over=is_over.is_set, pick=any_text_stream, keep_alive=False,
                wish=lambda number: Wish(new_tag("roll"), parts=10, gap_ms=50 + number % 100),
            )  # fmt: skip

        with in_background(calls, is_over, seen):
            time.sleep(1.0)
            for _ in range(rounds):
                slowest = max(slowest, roll(rig))
        rig.wait_until_resolved()
        violations = rig.prove(seen)
    violations += [
        f"K2: {one.wish.tag} ended {one.outcome} with status {one.status}" for one in seen if not one.is_whole
    ]
    if slowest > DRAINED_S:
        violations.append(f"K2: a process needed {slowest:.0f} s to drain")
    outcomes = dict(Counter(one.outcome for one in seen))
    figures = f"{len(seen)} streams: {outcomes}; a process drained in ≤ {slowest:.1f} s"
    return [Row("K2 rolling restart under streams", rounds * 2, violations, figures)]


def roll(rig: Rig) -> float:
    """Replace each web process, the new one first; return how long the slowest took to end."""
    slowest = 0.0
    for old in rig.gateway.web:
        rig.gateway.start_web()
        began = time.monotonic()
        rig.gateway.signal(old, signal.SIGTERM)
        rig.gateway.wait_for_end(old)
        slowest = max(slowest, time.monotonic() - began)
        assert old.status == 0, rig.gateway.log[-4_000:]
    return slowest
