"""`make faults`: every fault, on servers of its own, with its invariants proven; exit 1 where one was violated.

python -m tests.faults.run                 all of them, in about 25 minutes on two cores
python -m tests.faults.run kills cuts      these
python -m tests.faults.run --scale 0.1     a tenth of each
python -m tests.faults.run --write         put the table into docs/faults.md
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.faults.clusters import server_programs
from tests.faults.redis_server import has_redis
from tests.faults.table import Row, Table, complaints, head, line
from tests.flows.rig import ROOT

FAULTS: Final = (
    "kills",
    "restarts",
    "redis_faults",
    "outages",
    "journalled",
    "cuts",
    "crowded_account",
    "locked_account",
    "races",
    "windows",
    "minutes",
    "own_clock",
    "wakeups",
    "hang_ups",
    "leaving",
    "retries",
)
BESIDE: Final = {"kills": "proofs"}
"""Killing is mostly waiting for leases to run out: what needs nothing but a processor is proven meanwhile."""
WIDTH: Final = 44
PAGE: Final = ROOT / "docs" / "faults.md"
TABLE: Final = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- /figures -->)", re.DOTALL)


def main(arguments: list[str]) -> int:
    asked = read_arguments(arguments)
    if server_programs() is None or not has_redis():
        print("faults need the server programs of PostgreSQL (initdb, pg_ctl) and redis-server", file=sys.stderr)
        return 2
    table = Table()
    began = time.monotonic()
    print(head(WIDTH), flush=True)
    for group in in_groups(asked.faults or [*FAULTS, *BESIDE.values()]):
        with ThreadPoolExecutor(len(group)) as side_by_side:
            for rows in side_by_side.map(lambda name: run_one(name, asked.scale), group):
                table.add(rows)
                for row in rows:
                    print("\n".join([line(row, WIDTH), *complaints(row)]), flush=True)
    minutes = (time.monotonic() - began) / 60
    print(f"in {minutes:.0f} minutes")
    print(table.last_line)
    if asked.write:
        write_page(table, minutes)
    return 1 if table.failed else 0


def in_groups(names: Sequence[str]) -> list[list[str]]:
    """What runs at the same time: everything alone, but for what is to run beside something that was asked for too."""
    beside = {name: second for name, second in BESIDE.items() if {name, second} <= set(names)}
    return [[name, beside[name]] if name in beside else [name] for name in names if name not in beside.values()]


def read_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description="Faults, and what holds under them.")
    known = [*FAULTS, *BESIDE.values()]
    parser.add_argument("faults", nargs="*", choices=[*known, []], metavar="FAULT", help=f"of {', '.join(known)}")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of each: 1 is all")
    parser.add_argument("--write", action="store_true", help=f"put the table into docs/{PAGE.name}")
    return parser.parse_args(arguments)


def run_one(name: str, scale: float) -> list[Row]:
    """A fault's rows; one that says why, where it could not even be run to its end."""
    try:
        rows: list[Row] = importlib.import_module(f"tests.faults.{name}").run(scale)
    except Exception as error:
        traceback.print_exc()
        return [Row(name, 0, [f"could not be run: {error!r}"])]
    return rows


def write_page(table: Table, minutes: float) -> None:
    page = PAGE.read_text()
    figures = (
        f"{datetime.now(UTC):%Y-%m-%d}, two cores, {minutes:.0f} minutes: {table.last_line}.\n\n{table.markdown()}"
    )
    Path(PAGE).write_text(TABLE.sub(lambda _: figures, page))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
