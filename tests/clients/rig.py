"""Real clients, each in a process group of its own with an empty home: ended with everything that they started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from tests.flows.rig import ROOT, Person

CLIENTS: Final = ROOT / "var" / "clients"
MODULES: Final = CLIENTS / "node_modules"
PYTHON: Final = CLIENTS / "python" / "bin" / "python"
TIMEOUT_S: Final = 90.0


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a client."""

    status: int
    out: str
    """Both of its outputs, as they came."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where one client lives and works."""

    home: Path
    folder: Path

    @property
    def note(self) -> Path:
        """The file that clients are asked to write."""
        return self.folder / "note.txt"

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        stdin: str = "",
        **environ: str,
    ) -> Ran:
        """Run a client to its end. Nothing of this machine's environment reaches it but where programs are."""
        began_at = time.monotonic()
        process = subprocess.Popen(
            [str(part) for part in argv],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "TERM": "xterm", "NO_COLOR": "1", **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        try:
            out, _ = process.communicate(stdin, timeout=TIMEOUT_S)
        finally:
            end_group(process.pid)
        return Ran(process.returncode, out, time.monotonic() - began_at)


def end_group(pid: int) -> None:
    """End a client's whole process group: some leave children behind."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def scripted(*calls: tuple[str, Mapping[str, object]], ask: str = "Keep a note.") -> str:
    """A prompt that leads an agent through these tool calls (see the simulator's script.py)."""
    return " ".join([ask, *(f"[[call {tool} {json.dumps(arguments)}]]" for tool, arguments in calls)])


def bills(person: Person, *, last: int = 100) -> list[dict[str, Any]]:
    """The account's usage records, oldest first; they add up to what is gone from its balance."""
    records: list[dict[str, Any]] = person.operator.run("usage", person.account_id, "--last", last)["records"]
    charged = sum((Decimal(str(record["credits_charged"])) for record in records), Decimal(0))
    assert person.opening_balance - person.balance == charged
    return records[::-1]
