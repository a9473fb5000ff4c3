"""K11: the clock of the gateway's machine jumps, by an hour each way, under streams: nothing but timestamps notices."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.faults.callers import Seen, any_call, in_background, load, new_tag
from tests.faults.rig import own_rig
from tests.faults.table import Row
from tests.faults.wish import Wish

LIBRARY: Final = "libfaketimeMT.so.1"
DIRECTORIES: Final = ("/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib/faketime")
JUMPS: Final = ("+1h", "-1h", "+0", "+26h", "+0")
EVERY_S: Final = 3.0
CLIENTS: Final = 8
LONGEST_MS: Final = 60_000
"""No call of these takes a minute, whatever the clock on the wall says."""
NAME: Final = "K11 the gateway's clock jumps"


def find_library() -> Path | None:
    """Debian: `faketime`."""
    return next((path for path in (Path(each) / LIBRARY for each in DIRECTORIES) if path.exists()), None)


def run(scale: float = 1.0) -> list[Row]:
    library = find_library()
    if library is None:
        return [Row(NAME, 0, (), "not run: faketime is not installed")]
    with TemporaryDirectory() as directory:
        shown = Path(directory) / "clock"
        shown.write_text("+0")
        return [jump(shown, library, JUMPS if scale >= 1 else JUMPS[:3])]


def jump(shown: Path, library: Path, jumps: tuple[str, ...]) -> Row:
    seen: list[Seen] = []
    is_over = threading.Event()
    faked = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(shown),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with own_rig(environ=faked) as rig:
        alice = rig.person("alice", "--daily", 1_000)
        rig.operator.tell_server()

        async def calls() -> list[Seen]:
            return await load(
                alice, clients=CLIENTS, is_over=is_over.is_set, pick=any_call, pause_s=0.02,
                wish=lambda number: Wish(new_tag("wall"), parts=6, gap_ms=10 + number % 40),
            )  # fmt: skip

        with in_background(calls, is_over, seen):
            time.sleep(1.0)
            for offset in jumps:
                shown.write_text(offset)
                time.sleep(EVERY_S)
        shown.write_text("+0")
        rig.wait_until_resolved()
        violations = rig.prove(seen)
        latencies = [record["latency_ms"] for record in alice.records(10_000)]
    # The library that fakes the clock makes processes stand still for seconds: a hold may lose its patience.
    violations += [
        f"K11: {one.wish.tag} ended {one.outcome}, {one.status}"
        for one in seen
        if one.outcome not in {"served", "store_unavailable"}
    ]
    strange = [latency for latency in latencies if not 0 <= latency < LONGEST_MS]
    violations += [f"K11: {len(strange)} calls took as long as {strange[:3]} ms"] if strange else []
    figures = f"{', '.join(jumps)}: {len(seen):,} calls: {dict(Counter(one.outcome for one in seen))}"
    return Row(NAME, len(jumps), violations, figures)
