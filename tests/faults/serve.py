"""`python -m tests.faults.serve`: the flows' server with shorter patience, so that an outage need not last for long.

HASTE='{"settle": 1.5, "grace": 2, "adopt": 1, "answer": 3}': seconds that a settlement waits for its store, that
streams get to end when the server stops, between two looks for journals of dead processes, that a server may be silent.
"""

from __future__ import annotations

import json
import os
import sys

from apps.ledger import lane, late
from apps.ledger.store import statements
from hypereal import server
from tests.flows.serve import main


def hurry(haste: dict[str, float]) -> None:
    for module, name, key in (
        (lane, "SETTLE_PATIENCE_S", "settle"),
        (server, "GRACE_S", "grace"),
        (late, "ADOPT_EVERY_S", "adopt"),
        (statements, "ANSWER_S", "answer"),
    ):
        if key in haste:
            setattr(module, name, haste[key])


if __name__ == "__main__":
    hurry(json.loads(os.environ.get("HASTE", "{}")))
    sys.exit(main())
