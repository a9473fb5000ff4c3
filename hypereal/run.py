"""`make run`: check, prepare, say where things are, and serve until Ctrl-C.

Embedded (no `DATABASE_URL`, no `REDIS_URL`): this one process. Production shape (both set): web processes on one
socket, a Celery worker and beat, all children of this process.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import django

from hypereal import child, preflight, server
from hypereal.environment import Environment, read_or_exit, stop
from hypereal.supervisor import Program, Supervisor

ROOT: Final = Path(__file__).resolve().parent.parent
STOP_MARGIN_S: Final = 10
"""For a web process to close its stores once its streams have ended, and for a worker to finish a task."""


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hypereal.settings")
    environment = read_or_exit(root=ROOT)
    with ExitStack() as held:
        try:
            preflight.check_settings(environment)
            if environment.is_embedded:
                held.enter_context(preflight.data_directory(environment))
            preflight.check_journal(environment)
            listener = held.enter_context(preflight.listen(environment))
            django.setup()
            preflight.check_stores(environment)
        except preflight.CannotStart as reason:
            stop(str(reason))
        prepare(environment)
        return serve_embedded(environment, listener) if environment.is_embedded else supervise(environment, listener)


def prepare(environment: Environment) -> None:
    """Bring the database up to date and tell what was done; exit 2 where it belongs to other secrets."""
    from hypereal import first_run
    from hypereal.fingerprints import OtherSecret, check_secrets

    with first_run.one_at_a_time():
        try:
            applied = first_run.migrate(environment.owner_database_url)
        except subprocess.CalledProcessError:
            stop("the database could not be migrated with HYPEREAL_OWNER_DATABASE_URL; the reason is above")
        try:
            check_secrets(environment)
        except OtherSecret as mistake:
            stop(str(mistake))
        catalog = first_run.load_shipped_catalog()
        credentials = first_run.open_demo()
    if applied:
        say(f"{applied} migrations applied")
    if catalog is not None:
        say(f"catalog loaded: {catalog.models} models, {catalog.created} new, {catalog.repriced} at another price")
    if credentials is not None:
        print(first_run.announce(credentials, url=environment.public_url), flush=True)


def serve_embedded(environment: Environment, listener: socket.socket) -> int:
    say(f"embedded: one process on SQLite in {environment.data_dir} (production: set DATABASE_URL and REDIS_URL)")
    say(f"serving on {address(listener)}, admin at {environment.public_url}/admin/ (Ctrl-C stops)")
    return 0 if server.serve(environment, listener) else 1


def supervise(environment: Environment, listener: socket.socket) -> int:
    descriptor = listener.fileno()
    programs = [
        Program(name=f"web {number}", argv=child.argv("web", str(descriptor)), files=(descriptor,))
        for number in range(1, environment.workers + 1)
    ]
    programs += [Program(name=role, argv=child.argv(role)) for role in child.CELERY_ROLES]
    say(f"production shape: PostgreSQL and Redis; {environment.workers} web, worker, beat")
    say(f"serving on {address(listener)}, admin at {environment.public_url}/admin/ (Ctrl-C stops)")
    # Our own copy of the socket goes first: nobody shall wait in a backlog that is not served any more.
    grace_s = server.GRACE_S + STOP_MARGIN_S
    return Supervisor(programs, directory=ROOT, grace_s=grace_s, on_stop=listener.close).run()


def address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def say(line: str) -> None:
    print(f"hypereal: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
