"""K6 for longer than a settlement waits: answers are billed from the journal, though every process died meanwhile."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Final

from tests.faults.callers import Seen, any_text_stream, in_background, new_tag, once_each
from tests.faults.rig import Rig, own_rig
from tests.faults.table import Row
from tests.faults.wish import Wish
from tests.flows.rig import eventually

ROUNDS: Final = 2
STREAMS: Final = 40
STREAM_GAP_MS: Final = 60


def run(scale: float = 1.0) -> list[Row]:
    seen: list[Seen] = []
    resolved_s = 0.0
    with own_rig() as rig:
        for _ in range(max(1, round(ROUNDS * scale))):
            seen += outlast(rig)
            resolved_s = max(resolved_s, rig.wait_until_resolved())
        violations = rig.prove(seen)
    violations += [f"K6: {one.wish.tag} ended {one.outcome}" for one in seen if not one.is_whole]
    outcomes = dict(Counter(one.outcome for one in seen))
    figures = (
        f"{len(seen)} streams: {outcomes}; all billed {resolved_s:.1f} s after the restart, from the dead's journals"
    )
    return [Row("K6 PostgreSQL away for long, processes killed", len(seen), violations, figures)]


def outlast(rig: Rig) -> list[Seen]:
    """Streams end while the database is away, their processes die, and only then is it back."""
    assert rig.cluster is not None
    alice = rig.person("alice")
    rig.operator.tell_server()
    seen: list[Seen] = []

    async def streams() -> list[Seen]:
        wishes = [Wish(new_tag("away"), parts=20, gap_ms=STREAM_GAP_MS) for _ in range(STREAMS)]
        return await once_each(alice, wishes, pick=any_text_stream)

    began = len(rig.oracle.calls())
    with in_background(streams, threading.Event(), seen):
        eventually(lambda: len(rig.oracle.calls()) == began + STREAMS)
        time.sleep(0.5)
        rig.cluster.stop("immediate")
    rig.gateway.kill_all()
    rig.cluster.start()
    for _ in range(rig.gateway.workers):
        rig.gateway.start_web()
    return seen
