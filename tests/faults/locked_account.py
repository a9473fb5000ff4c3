"""One session that holds one account's row: calls of other accounts hardly notice, its own wait and are served."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from tests.faults.callers import Seen, in_background, load, new_tag, once_each
from tests.faults.rig import DATABASE, Rig, own_rig
from tests.faults.table import Row
from tests.faults.wish import Wish
from tests.flows.rig import Person

REPEATS: Final = 5
LOCKED_S: Final = 2.0
CLIENTS: Final = 4
WAITING: Final = 8
"""Calls of the locked account."""
DELAY_S: Final = 0.2


def run(scale: float = 1.0) -> list[Row]:
    repeats = max(1, round(REPEATS * scale))
    delays: list[float] = []
    seen: list[Seen] = []
    with own_rig() as rig:
        alice, bob = rig.person("alice"), rig.person("bob")
        rig.operator.tell_server()
        for _ in range(repeats):
            others, own, delay = lock(rig, alice, bob)
            delays.append(delay)
            seen += [*others, *own]
        rig.wait_until_resolved()
        violations = rig.prove(seen)
    violations += [f"K9: {one.wish.tag} ended {one.outcome}" for one in seen if not one.is_whole]
    violations += [f"K9: others waited {delay * 1_000:.0f} ms" for delay in delays if delay > DELAY_S]
    figures = f"calls of other accounts delayed by ≤ {max(delays) * 1_000:.0f} ms, {len(seen)} calls"
    return [Row(f"K9 one account's row held for {LOCKED_S:.0f} s", repeats, violations, figures)]


def lock(rig: Rig, alice: Person, bob: Person) -> tuple[list[Seen], list[Seen], float]:
    """Hold Alice's row while she and Bob call; return Bob's calls, Alice's, and how much slower Bob's were."""
    is_over = threading.Event()
    others: list[Seen] = []
    own: list[Seen] = []

    async def bobs_calls() -> list[Seen]:
        return await load(
            bob, clients=CLIENTS, is_over=is_over.is_set, pause_s=0.03, wish=lambda _: Wish(new_tag("other"))
        )

    async def alices_calls() -> list[Seen]:
        # Holds wait two seconds for a locked account, then they are refused: these come in the lock's second half.
        await asyncio.sleep(LOCKED_S / 2)
        return await once_each(alice, [Wish(new_tag("locked")) for _ in range(WAITING)])

    with in_background(bobs_calls, is_over, others):
        began_at = time.monotonic()
        time.sleep(LOCKED_S)
        with in_background(alices_calls, threading.Event(), own), hold_row(rig, alice):
            locked_at = time.monotonic()
            time.sleep(LOCKED_S)
            ends_at = time.monotonic()
    # The same figure of as much time without the lock: this machine has its own delays.
    return others, own, slowest(others, locked_at, ends_at) - slowest(others, began_at, locked_at)


def slowest(calls: list[Seen], since: float, until: float) -> float:
    """Seconds of the slowest call that ran in this time."""
    return max(one.seconds for one in calls if one.began_at <= until and one.began_at + one.seconds >= since)


@contextmanager
def hold_row(rig: Rig, person: Person) -> Iterator[None]:
    assert rig.cluster is not None
    with psycopg.connect(rig.cluster.url(DATABASE)) as connection:
        connection.execute("SELECT 1 FROM ledger_balance WHERE account_id = %s FOR UPDATE", [person.account_id])
        yield
        connection.rollback()
