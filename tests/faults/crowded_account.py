"""K9: one account that 64 clients call at once settles as fast as with eight, and nobody waits in a circle."""

from __future__ import annotations

from typing import Final

from tests.faults import hot_account
from tests.faults.hot_account import Figures
from tests.faults.table import Row

SECONDS: Final = 5.0
FEW: Final = 8
MANY: Final = 64
LEAST_SHARE: Final = 0.8
LEAST_PER_S: Final = 2_000
P99_MS: Final = 500


def run(scale: float = 1.0) -> list[Row]:
    few, many = hot_account.run([FEW, MANY], seconds=max(1.0, SECONDS * scale))
    figures = (
        f"{many.per_s:,.0f} settlements/s with {MANY} clients (p99 {many.p99_ms:.0f} ms),"
        f" {few.per_s:,.0f} with {FEW}; {few.deadlocks + many.deadlocks} deadlocks"
    )
    return [Row("K9 one hot account", few.settlements + many.settlements, judge(few, many), figures)]


def judge(few: Figures, many: Figures) -> list[str]:
    found = []
    if many.per_s < LEAST_SHARE * few.per_s:
        found.append(f"K9: {many.per_s:.0f}/s with {MANY} clients is less than {LEAST_SHARE:.0%} of {few.per_s:.0f}/s")
    if many.per_s < LEAST_PER_S:
        found.append(f"K9: {many.per_s:.0f} settlements/s are fewer than {LEAST_PER_S}")
    if many.p99_ms >= P99_MS:
        found.append(f"K9: the slowest percent took {many.p99_ms:.0f} ms")
    if few.deadlocks or many.deadlocks:
        found.append(f"K9: {few.deadlocks + many.deadlocks} deadlocks")
    return found
