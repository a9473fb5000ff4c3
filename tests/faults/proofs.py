"""M6, M8: what has no process to kill: the arithmetic, and the rules of the ledger, in the long form of their tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.faults.table import Row
from tests.flows.rig import ROOT

PROOF_S: Final = 600.0
FAILED: Final = re.compile(r"^(?:FAILED|ERROR) .*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Proof:
    """Tests of the ordinary suite, with an environment that makes them long."""

    name: str
    path: str
    runs: int
    environ: Mapping[str, str] = field(default_factory=dict)


PROOFS: Final = (Proof("M6 a million bills against exact fractions", "tests/catalog/test_exact_bills.py", 1_000_000),)


def run(scale: float = 1.0) -> list[Row]:
    return [prove(proof) for proof in PROOFS]


def prove(proof: Proof) -> Row:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", proof.path],
        cwd=ROOT,
        env={**os.environ, **proof.environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PROOF_S,
    )
    violations = FAILED.findall(done.stdout) or ([] if done.returncode == 0 else [done.stdout[-2_000:]])
    return Row(proof.name, proof.runs, violations, f"in {time.monotonic() - began:.0f} s")
