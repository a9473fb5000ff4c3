"""What admission costs over Redis, and in this process's memory: `python -m tests.bench.admission`. Needs REDIS_URL.

The process that asks is measured, pinned to a core; Redis has the other. Every limit is set and none refuses.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
import uuid
from typing import Final

import uvloop

from apps.catalog.rules import Capacity
from apps.core.ids import new_id
from apps.governor.store.memory import MemoryGovernor
from apps.governor.store.protocol import Ask, Governor
from apps.governor.store.redis.link import Link
from apps.governor.store.shared import SharedGovernor

CONNECTIONS: Final = 64
CALLS: Final = 20_000
ROUNDS: Final = 5
RPS: Final = 200
PACED_S: Final = 15
MANY: Final = 1_000_000_000
CAPACITY: Final = Capacity(
    concurrency=1_000, rpm=MANY, tpm=MANY * 1_000, ipm=MANY, queue_s=5, queue_length=100, queue_tokens=MANY
)
ASKS: Final = [
    Ask(uuid.UUID(int=account), uuid.UUID(int=account + 100), f"bench-{os.getpid()}", CAPACITY, MANY, MANY, MANY, 900)
    for account in range(20)
]


async def saturate(governor: Governor) -> tuple[float, float]:
    """Microseconds of this process's CPU, and pairs of admit and finish in a second."""

    async def client(number: int) -> None:
        for call in range(CALLS // CONNECTIONS):
            admission = await governor.admit(ASKS[(number + call) % len(ASKS)])
            governor.finish(admission, tokens=700)

    cpu_s, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(CONNECTIONS)))
    calls = CALLS // CONNECTIONS * CONNECTIONS
    return (time.process_time() - cpu_s) / calls * 1e6, calls / (time.perf_counter() - began)


async def pace(governor: Governor) -> list[float]:
    """What each admission took, in milliseconds, where RPS come in a second, whatever became of those before."""
    took_ms: list[float] = []

    async def one(number: int) -> None:
        began = time.perf_counter()
        admission = await governor.admit(ASKS[number % len(ASKS)])
        took_ms.append((time.perf_counter() - began) * 1e3)
        await asyncio.sleep(0.05)
        governor.finish(admission, tokens=700)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as calls:
        for number in range(RPS * PACED_S):
            await asyncio.sleep(max(0.0, began + number / RPS - time.perf_counter()))
            calls.create_task(one(number))
    return sorted(took_ms)


async def measure(name: str, governor: Governor) -> None:
    await saturate(governor)
    rounds = [await saturate(governor) for _ in range(ROUNDS)]
    best_us, best_rate = min(cpu_us for cpu_us, _ in rounds), max(rate for _, rate in rounds)
    median_us = sorted(cpu_us for cpu_us, _ in rounds)[ROUNDS // 2]
    took_ms = await pace(governor)
    p50, p99 = took_ms[len(took_ms) // 2], took_ms[len(took_ms) * 99 // 100]
    print(f"{name:10}{best_us:>10.1f}{median_us:>10.1f}{best_rate:>10,.0f}{p50:>10.3f}{p99:>10.3f}")


async def main(redis_url: str) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(f"{'':10}{'us/call':>10}{'median':>10}{'calls/s':>10}{'p50 ms':>10}{'p99 ms':>10}")
    await measure("memory", MemoryGovernor())
    link = Link(redis_url)
    link.deadline_s = 10.0  # what is late here waits: going another way is not what is measured
    governor = SharedGovernor(link, process_id=new_id(), live_processes=lambda: 1)
    await governor.start()
    before = await in_redis_us(link)
    await measure("Redis", governor)
    calls = governor.admitted.shared
    print(f"{'':10}{(await in_redis_us(link) - before) / calls:.0f} us of Redis for both scripts of a call")
    assert governor.admitted.own == 0
    await governor.stop()


async def in_redis_us(link: Link) -> int:
    """Microseconds that the server has spent in scripts."""
    text = bytes(await link.command("INFO", "commandstats")).decode()
    return sum(int(usec) for usec in re.findall(r"^cmdstat_eval\w*:calls=\d+,usec=(\d+)", text, re.MULTILINE))


if __name__ == "__main__":
    if not os.environ.get("REDIS_URL"):
        sys.exit("REDIS_URL says which Redis")
    uvloop.run(main(os.environ["REDIS_URL"]))
