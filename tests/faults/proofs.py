"""M6, M8: what has no process to kill: the arithmetic, and the rules of the ledger, in the long form of their tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Final

from tests.faults.clusters import own_cluster
from tests.faults.redis_server import own_redis
from tests.faults.table import Row
from tests.flows.rig import ROOT

PROOF_S: Final = 900.0
USAGES: Final = 1_000_000
STEPS: Final = 10_000
FAILED: Final = re.compile(r"^(?:FAILED|ERROR) .*", re.MULTILINE)
MILLION: Final = "tests/ledger/test_million_usages.py"
MACHINE: Final = "tests/ledger/test_machine.py"
EMBEDDED: Final = {"DATABASE_URL": "", "REDIS_URL": ""}


def run(scale: float = 1.0) -> list[Row]:
    usages, steps = max(1_000, round(USAGES * scale)), max(100, round(STEPS * scale))
    long = {"LEDGER_USAGES": str(usages), "LEDGER_STEPS": str(steps)}
    rows = [
        prove("M6 usages priced against exact rationals", MILLION, usages, {**long, **EMBEDDED}),
        prove("M8 ledger against a model, SQLite", MACHINE, steps, {**long, **EMBEDDED}),
    ]
    with own_cluster() as cluster, own_redis() as redis:
        servers = {"DATABASE_URL": cluster.create_database("proofs"), "REDIS_URL": redis.url}
        rows.append(prove("M8 ledger against a model, PostgreSQL", MACHINE, steps, {**long, **servers}))
    return rows


def prove(name: str, path: str, runs: int, environ: Mapping[str, str]) -> Row:
    """Tests of the ordinary suite, with an environment that makes them long."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path],
        cwd=ROOT,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PROOF_S,
    )
    violations = FAILED.findall(done.stdout) or ([] if done.returncode == 0 else [done.stdout[-2_000:]])
    return Row(name, runs, violations, f"in {time.monotonic() - began:.0f} s")
