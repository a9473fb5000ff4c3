"""K6: PostgreSQL crashes under load and comes back: new calls are told, running ones end billed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.faults.callers import Seen, any_text_stream, in_background, load, new_tag, once_each
from tests.faults.rig import Rig, own_rig
from tests.faults.table import Row
from tests.faults.wish import Wish
from tests.flows.rig import Person

OUTAGES: Final = 5
AWAY_S: Final = 4.0
CLIENTS: Final = 16
LONG_STREAMS: Final = 8
"""Streams that run all the while."""
REFUSED_S: Final = 2.5
"""A hold waits two seconds for its store; the rest is for getting the answer across."""
RETRY_AFTER_S: Final = 2
BACK_S: Final = 5.0
"""Within this after the store a call is served again."""


@dataclass(slots=True)
class Outage:
    stopped_at: float
    started_at: float = 0.0
    back_s: float = 0.0
    """Seconds from the store's return to the first call that began after it and was served."""


@dataclass(slots=True)
class Record:
    outages: list[Outage] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    streams: list[Seen] = field(default_factory=list)
    """The long ones."""


def run(scale: float = 1.0) -> list[Row]:
    record = Record()
    with own_rig() as rig:
        alice = rig.person("alice")
        rig.operator.tell_server()
        for _ in range(max(1, round(OUTAGES * scale))):
            one_outage(rig, alice, record)
        rig.wait_until_resolved()
        violations = rig.prove([*record.seen, *record.streams])
    violations += judge(record)
    return [Row("K6 PostgreSQL crashed and started", len(record.outages), violations, figures(record))]


def one_outage(rig: Rig, person: Person, record: Record) -> None:
    assert rig.cluster is not None
    is_over = threading.Event()
    seen: list[Seen] = []
    streams: list[Seen] = []

    async def calls() -> list[Seen]:
        return await load(
            person, clients=CLIENTS, is_over=is_over.is_set, pause_s=0.02,
            wish=lambda number: Wish(new_tag("crash"), gap_ms=number % 20),
        )  # fmt: skip

    async def long_streams() -> list[Seen]:
        # Each begins before the outage and wants its bill in the midst of it.
        wishes = [Wish(new_tag("long"), parts=20, gap_ms=100 + 10 * number) for number in range(LONG_STREAMS)]
        return await once_each(person, wishes, pick=any_text_stream)

    with in_background(calls, is_over, seen):
        with in_background(long_streams, threading.Event(), streams):
            time.sleep(1.0)
            outage = Outage(time.monotonic())
            rig.cluster.stop("immediate")
            time.sleep(AWAY_S)
            rig.cluster.start()
            outage.started_at = time.monotonic()
        wait_for_calls(rig, LONG_STREAMS + CLIENTS)
    after = [one.began_at + one.seconds for one in seen if one.is_whole and one.began_at >= outage.started_at]
    outage.back_s = min(after, default=float("inf")) - outage.started_at
    record.outages.append(outage)
    record.seen += seen
    record.streams += streams


def wait_for_calls(rig: Rig, count: int) -> None:
    """Until so many more were billed, or so long that it is too late."""
    wanted, ends_at = rig.settled() + count, time.monotonic() + BACK_S
    while rig.settled() < wanted and time.monotonic() < ends_at:
        time.sleep(0.1)


def judge(record: Record) -> list[str]:
    found = []
    for one in [*record.seen, *record.streams]:
        tag = one.wish.tag
        if one.outcome == "broken" or (one.status or 0) == 500:
            found.append(f"I12: {tag} ended {one.outcome} with status {one.status}")
        if one.status == 503 and (one.seconds > REFUSED_S or int(one.retry_after or 99) > RETRY_AFTER_S):
            found.append(f"K6: {tag} was refused after {one.seconds:.1f} s with Retry-After {one.retry_after}")
    found += [f"K6: {one.wish.tag} ran when the store went and ended {one.outcome}" for one in failed(record.streams)]
    found += [f"K6: served again {one.back_s:.1f} s after the store" for one in record.outages if one.back_s > BACK_S]
    return found


def failed(streams: Sequence[Seen]) -> list[Seen]:
    return [one for one in streams if not one.is_whole]


def figures(record: Record) -> str:
    refused = [one.seconds for one in record.seen if one.status == 503]
    outcomes = Counter(one.outcome for one in record.seen)
    back = max(outage.back_s for outage in record.outages)
    whole = len(record.streams) - len(failed(record.streams))
    return (
        f"{len(record.seen):,} calls: {dict(outcomes)}; refused within {max(refused, default=0):.1f} s;"
        f" {whole} of {len(record.streams)} running streams ended billed; back {back:.1f} s after the store"
    )
