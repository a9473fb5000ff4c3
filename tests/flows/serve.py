"""`python -m tests.flows.serve`: one web process, prepared as `make run` prepares it, without worker and beat."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack

import django

from hypereal import preflight, run, server
from hypereal.environment import read_or_exit


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hypereal.settings")
    environment = read_or_exit(root=run.ROOT)
    with ExitStack() as held:
        if environment.is_embedded:
            held.enter_context(preflight.data_directory(environment))
        listener = held.enter_context(preflight.listen(environment))
        django.setup()
        run.prepare(environment)
        return 0 if server.serve(environment, listener) else 1


if __name__ == "__main__":
    sys.exit(main())
