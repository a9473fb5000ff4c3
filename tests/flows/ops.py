"""`python -m tests.flows.ops`: the operator's commands in a process of their own, one JSON line in, one out.

{"command": ["balance", "alice"]}                     runs `manage.py balance alice --json`
{"task": "ledger.sweep"}                              runs what the schedule would
{"route": "…", "timeouts": {"idle_timeout_ms": 500}}  changes what only the admin's form can
"""

from __future__ import annotations

import io
import json
import os
import sys
import uuid
from typing import Any

import django


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hypereal.settings")
    django.setup()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """`{"output": text, "error": text or null}`."""
    from django.core.management import CommandError, call_command
    from django.db import close_old_connections

    from apps.upstreams import services
    from hypereal.scheduler import run_task

    output = io.StringIO()
    try:
        if "task" in asked:
            run_task(asked["task"])
        elif "route" in asked:
            services.set_route(route_id=uuid.UUID(asked["route"]), actor="test", **asked["timeouts"])
        else:
            name, *arguments = asked["command"]
            call_command(name, *arguments, "--json", stdout=output)
    except CommandError as mistake:
        return {"output": output.getvalue(), "error": str(mistake)}
    except SystemExit as ended:
        return {"output": output.getvalue(), "error": f"exit code {ended.code}"}
    finally:
        close_old_connections()
    return {"output": output.getvalue(), "error": None}


if __name__ == "__main__":
    main()
