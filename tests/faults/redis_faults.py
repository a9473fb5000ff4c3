"""K5: Redis flushed, restarted, paused, full, read-only, under load: money does not notice, calls hardly do."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import redis

from tests.faults.callers import Seen, in_background, load, new_tag
from tests.faults.redis_server import RedisServer
from tests.faults.rig import Rig, own_rig
from tests.faults.table import Row
from tests.faults.wish import Wish

CLIENTS: Final = 12
BEFORE_S: Final = 1.0
DURING_S: Final = 3.0
SETTLED_S: Final = 5.0
"""After this errors are rare, whatever Redis does."""
AFTER_S: Final = 3.0
MOST_ERRORS_PERCENT: Final = 1


def flush(server: RedisServer) -> None:
    server.flush()


def restart(server: RedisServer) -> None:
    server.kill()
    time.sleep(DURING_S)
    server.start()


def pause(server: RedisServer) -> None:
    server.pause(round(DURING_S * 1_000))


def fill(server: RedisServer) -> None:
    """No memory for anything new."""
    configure(server, "maxmemory", "1mb")
    time.sleep(DURING_S)
    configure(server, "maxmemory", "0")


def make_read_only(server: RedisServer) -> None:
    """As a primary that was made the replica of another."""
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        time.sleep(DURING_S)
        client.execute_command("REPLICAOF", "NO", "ONE")


def configure(server: RedisServer, name: str, value: str) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.config_set(name, value)


DISTURBANCES: Final[dict[str, Callable[[RedisServer], None]]] = {
    "flushed": flush,
    "restarted": restart,
    "paused": pause,
    "full": fill,
    "read-only": make_read_only,
}


def run(scale: float = 1.0) -> list[Row]:
    names = list(DISTURBANCES) if scale >= 1 else ["restarted"]
    seen: list[Seen] = []
    late: list[Seen] = []
    with own_rig() as rig:
        for name in names:
            disturbed, settled = disturb(rig, name, after_s=AFTER_S if scale >= 1 else 1.0)
            seen += disturbed
            late += settled
        rig.wait_until_resolved()
        violations = rig.prove(seen)
    for one in seen:
        if one.status == 500 or one.outcome == "broken":
            violations.append(f"K5: {one.wish.tag} ended {one.outcome} with status {one.status}")
    errors = sum(not one.is_whole for one in late)
    if 100 * errors > MOST_ERRORS_PERCENT * len(late):
        violations.append(f"K5: {errors} of {len(late)} calls failed {SETTLED_S:.0f} s after a disturbance began")
    outcomes = dict(Counter(one.outcome for one in seen))
    figures = f"{', '.join(names)}: {len(seen):,} calls: {outcomes}; {errors} late errors"
    return [Row("K5 Redis disturbed", len(names), violations, figures)]


def disturb(rig: Rig, name: str, *, after_s: float) -> tuple[list[Seen], list[Seen]]:
    """All calls, and those that began when the gateway had had its time to settle."""
    assert rig.redis is not None
    alice = rig.person(name)
    rig.operator.tell_server()
    is_over = threading.Event()
    seen: list[Seen] = []

    async def calls() -> list[Seen]:
        return await load(
            alice, clients=CLIENTS, is_over=is_over.is_set, pause_s=0.02,
            wish=lambda number: Wish(new_tag(name), gap_ms=number % 10),
        )  # fmt: skip

    with in_background(calls, is_over, seen):
        time.sleep(BEFORE_S)
        began = time.monotonic()
        DISTURBANCES[name](rig.redis)
        time.sleep(max(0.0, began + SETTLED_S - time.monotonic()) + after_s)
    return seen, [one for one in seen if one.began_at >= began + SETTLED_S]
