"""The built-in simulator as an operator starts it: `simulate_upstream`, a server of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.flows.rig import ROOT


@dataclass(frozen=True, slots=True)
class Simulated:
    root: str
    """`http://127.0.0.1:…`, without a path."""


@contextmanager
def simulate_upstream() -> Iterator[Simulated]:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "simulate_upstream", "--port", "0", "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield Simulated(json.loads(process.stdout.readline())["anthropic"])
    finally:
        process.terminate()
        process.communicate(timeout=20)
