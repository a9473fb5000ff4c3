"""K9: one account that everybody calls at once. `python -m tests.faults.hot_account` measures it on its own cluster.

Clients hold and settle through the gateway's own committers, in two processes, as fast as they can. Nothing else is in
the way: no HTTP, no upstream.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
import uvloop

from apps.core.ids import new_id
from apps.ledger.committer import Committer
from apps.ledger.operations import Guard, Hold, Settle
from apps.ledger.store.postgres import PostgresStore
from apps.usage.record import Record
from tests.faults.clusters import own_cluster
from tests.flows.rig import ROOT

PROCESSES: Final = 2
WARM_UP_S: Final = 0.5
DAILY_LIMIT_MICRO: Final = 10**15
CREDITS: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class Figures:
    """One run. Latencies are of the settlements alone, in milliseconds."""

    clients: int
    settlements: int
    per_s: float
    p50_ms: float
    p99_ms: float
    deadlocks: int
    cpu_us: float
    """Of our own processes, per pair of hold and settlement."""


def measure(
    database_url: str, *, account_id: uuid.UUID, key_id: uuid.UUID, clients: int, seconds: float = 5.0
) -> Figures:
    """Hold and settle on this account with so many clients, shared by PROCESSES processes."""
    deadlocks = _deadlocks(database_url)
    job = {"url": database_url, "account": str(account_id), "key": str(key_id), "seconds": seconds}
    shares = [clients // PROCESSES + (number < clients % PROCESSES) for number in range(PROCESSES)]
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.hot_account", "--worker", json.dumps({**job, "clients": share})],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for share in shares
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"go\n")
        worker.stdin.flush()
    found = [json.loads(worker.communicate(timeout=seconds + 60)[0]) for worker in workers]
    latencies: Counter[float] = Counter()
    for one in found:
        latencies.update({float(latency): count for latency, count in one["latencies_ms"].items()})
    return Figures(
        clients=clients,
        settlements=latencies.total(),
        per_s=latencies.total() / seconds,
        p50_ms=_quantile(latencies, 0.5),
        p99_ms=_quantile(latencies, 0.99),
        deadlocks=_deadlocks(database_url) - deadlocks,
        cpu_us=sum(one["cpu_s"] for one in found) * 1e6 / sum(one["pairs"] for one in found),
    )


def _quantile(latencies: Counter[float], share: float) -> float:
    left = latencies.total() * share
    for latency, count in sorted(latencies.items()):
        left -= count
        if left <= 0:
            return latency
    raise AssertionError("nothing was settled")


def _deadlocks(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
        assert row is not None
        return int(row[0])


async def work(job: dict[str, Any]) -> dict[str, Any]:
    """What one process does: its clients' calls until the time is over."""
    process_id, account_id, key_id = new_id(), uuid.UUID(job["account"]), uuid.UUID(job["key"])
    ledger = Committer(PostgresStore(job["url"]), process_id=process_id, name="hot account")
    await ledger.start()
    guards = (Guard("account", "daily", DAILY_LIMIT_MICRO, "account_budget_exhausted"),)
    latencies: Counter[float] = Counter()
    pairs = 0
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    began_cpu_s = time.process_time()
    warm_at = time.monotonic() + WARM_UP_S
    ends_at = warm_at + job["seconds"]

    async def call_on() -> None:
        nonlocal pairs
        while time.monotonic() < ends_at:
            request_id = new_id()
            grant = await ledger.hold(
                Hold(request_id, account_id, key_id, "claude-sonnet-4-7", process_id, 2_000_000, 1_000_000, guards)
            )
            record = Record(request_id, account_id, key_id, "claude-sonnet-4-7", "chat", True, datetime.now(UTC))
            record.status, record.http_status, record.input_tokens, record.output_tokens = "succeeded", 200, 1_200, 300
            began = time.monotonic()
            await ledger.settle(Settle(request_id, account_id, 900_000, record, grant.windows))
            pairs += 1
            if warm_at <= began < ends_at:
                latencies[round((time.monotonic() - began) * 1_000, 1)] += 1

    await asyncio.gather(*(call_on() for _ in range(job["clients"])))
    await ledger.stop()
    return {"latencies_ms": latencies, "pairs": pairs, "cpu_s": time.process_time() - began_cpu_s}


def _command(database_url: str, *arguments: object) -> Any:
    environ = {**os.environ, "DATABASE_URL": database_url, "REDIS_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(
        [sys.executable, "manage.py", *map(str, arguments)], cwd=ROOT, env=environ, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout) if "--json" in arguments else None


def run(clients: Sequence[int], *, seconds: float) -> Iterator[Figures]:
    """Measure with each number of clients in turn, on a cluster of its own."""
    with own_cluster() as cluster:
        url = cluster.create_database("hot")
        _command(url, "migrate", "--verbosity", 0)
        account = _command(url, "create_account", "hot", "--credits", CREDITS, "--json")
        key = _command(url, "issue_key", account["account_id"], "--daily", CREDITS, "--json")
        account_id, key_id = uuid.UUID(account["account_id"]), uuid.UUID(key["key_id"])
        for number in clients:
            yield measure(url, account_id=account_id, key_id=key_id, clients=number, seconds=seconds)


def main(clients: Sequence[int], seconds: float) -> None:
    print("clients  settlements/s  p50 ms  p99 ms  CPU us/pair  deadlocks")
    for found in run(clients, seconds=seconds):
        print(
            f"{found.clients:7d}  {found.per_s:13,.0f}  {found.p50_ms:6.1f}  {found.p99_ms:6.1f}"
            f"  {found.cpu_us:11.0f}  {found.deadlocks:9d}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", default="8,64,256")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--worker", type=json.loads)
    options = parser.parse_args()
    if options.worker is not None:
        print(json.dumps(uvloop.run(work(options.worker))))
    else:
        main([int(number) for number in options.clients.split(",")], options.seconds)
