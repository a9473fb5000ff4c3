"""K7: connections to PostgreSQL cut around COMMIT, on either side of it: nothing is lost, nothing doubled."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Final

from tests.faults.callers import Seen, in_background, load, new_tag
from tests.faults.proxy import Behaviour, Verdict
from tests.faults.rig import own_rig
from tests.faults.table import Row
from tests.faults.wish import Wish
from tests.flows.rig import eventually

SETTLEMENTS: Final = 900
CLIENTS: Final = 16
CUT_PERCENT: Final = 25
"""Of the settling transactions' COMMITs."""
SWALLOWED: Final = 2
"""Connections that die without a word: each costs the store its whole patience."""
SETTLED_S: Final = 240.0
COMMIT: Final = b"\x00commit\x00"
"""How a Bind message names the prepared statement."""
RECORDS: Final = b"\x00insert_records\x00"
"""Only what ends calls writes records."""
WAYS: Final = {
    "lost before": Verdict.RESET,
    "answer lost": Verdict.PASS_THEN_RESET,
    "half-closed": Verdict.HALF_CLOSE,
}


class CutCommits:
    """Judges what the gateway sends: now and then a COMMIT with settlements in it is the last of its connection."""

    def __init__(self, *, swallows: int) -> None:
        self.cuts: Counter[str] = Counter()
        self._ways = random.Random(0)
        self._swallows = swallows

    def __call__(self, data: bytes) -> Verdict:
        if COMMIT not in data or RECORDS not in data or self._ways.randrange(100) >= CUT_PERCENT:
            return Verdict.PASS
        if self._swallows:
            self._swallows -= 1
            self.cuts["swallowed"] += 1
            return Verdict.PASS_THEN_SWALLOW
        way = self._ways.choice(list(WAYS))
        self.cuts[way] += 1
        return WAYS[way]


def run(scale: float = 1.0) -> list[Row]:
    wanted = max(30, round(SETTLEMENTS * scale))
    rows = [cut(wanted, swallows=SWALLOWED if scale >= 1 else 0)]
    if scale >= 1:
        rows.append(cut(round(wanted / 3), swallows=SWALLOWED, journal="off"))
    return rows


def cut(wanted: int, *, swallows: int, journal: str = "on") -> Row:
    with own_rig(with_proxy=True, environ={"HYPEREAL_JOURNAL": journal}) as rig:
        assert rig.proxy is not None
        alice = rig.person("alice")
        rig.operator.tell_server()
        cutting = CutCommits(swallows=swallows)
        rig.proxy.behaviour = Behaviour(to_server=cutting)
        seen: list[Seen] = []
        is_over = threading.Event()

        async def make_calls() -> list[Seen]:
            return await load(
                alice,
                clients=CLIENTS,
                is_over=is_over.is_set,
                wish=lambda number: Wish(new_tag("cut"), gap_ms=number % 8),
            )

        with in_background(make_calls, is_over, seen):
            eventually(lambda: rig.settled() >= wanted, timeout_s=SETTLED_S)
            rig.proxy.behaviour = Behaviour()
        rig.wait_until_resolved()
        violations = rig.prove(seen)
        settled = rig.settled()
        annulled = len(rig.evidence().corrections)
    outcomes = Counter(one.outcome for one in seen)
    told = ", ".join(f"{count} {way}" for way, count in sorted(cutting.cuts.items()))
    figures = f"{cutting.cuts.total()} COMMITs cut ({told}); calls: {dict(outcomes)}"
    if annulled:
        figures += f"; {annulled} charges annulled whose callers had been told of a failure"
    name = "K7 connections cut around COMMIT" + (", no journal" if journal == "off" else "")
    return Row(name, settled, violations, figures)
