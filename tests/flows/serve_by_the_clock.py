"""`python -m tests.flows.serve_by_the_clock`: a web process whose monotonic clock is a file that a test writes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from apps.core import clock
from tests.flows import serve

CLOCK_FILE = "TESTS_CLOCK_FILE"


def follow(shown: Path) -> None:
    """Let the clock show what the file says, in seconds."""
    clock.monotonic = lambda: float(shown.read_text())


if __name__ == "__main__":
    follow(Path(os.environ[CLOCK_FILE]))
    sys.exit(serve.main())
