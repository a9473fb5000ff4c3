"""What came of a fault: a line of the table, and whether anything was violated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

SHOWN: Final = 5
"""Violations of a fault that are told whole; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Row:
    fault: str
    runs: int
    """What was repeated: kills, hang-ups, settlements."""
    violations: Sequence[str] = ()
    figures: str = ""
    """What was measured, in words."""

    @property
    def has_passed(self) -> bool:
        return not self.violations


@dataclass(slots=True)
class Table:
    """Lines as they come; `fault` is `K1 killed at F4`, say."""

    rows: list[Row] = field(default_factory=list)

    def add(self, rows: Iterable[Row]) -> None:
        self.rows += rows

    @property
    def failed(self) -> int:
        return sum(not row.has_passed for row in self.rows)

    @property
    def last_line(self) -> str:
        return f"{len(self.rows) - self.failed} passed, {self.failed} failed"

    def lines(self) -> list[str]:
        width = max((len(row.fault) for row in self.rows), default=0)
        return [line(row, width) for row in self.rows]

    def markdown(self) -> str:
        head = ["| Fault | Runs | Violations | Figures |", "|---|---:|---:|---|"]
        body = [f"| {row.fault} | {row.runs:,} | {len(row.violations)} | {row.figures} |" for row in self.rows]
        return "\n".join([*head, *body]) + "\n"


def line(row: Row, width: int) -> str:
    return f"{row.fault:<{width}}  {row.runs:>9,}  {len(row.violations):>10}  {row.figures}"


def head(width: int) -> str:
    return f"{'fault':<{width}}  {'runs':>9}  {'violations':>10}  figures"


def complaints(row: Row) -> list[str]:
    """The first violations, for people."""
    told = [f"    {violation}" for violation in row.violations[:SHOWN]]
    return told + ([f"    and {len(row.violations) - SHOWN} more"] if len(row.violations) > SHOWN else [])
