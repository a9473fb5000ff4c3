"""`python -m tests.faults.web FD`: a nursery of web processes that all serve on one inherited socket.

Everything is imported once; a process is then a fork away, so that a killed one is replaced in a fraction of a second.
From there on it is what the product's is: its own stores, its own lease, the same server. One JSON line in, one out:

    {"start": "web", "failpoint": "F4:kill@3"}   →  {"started": 4711, "as": "web"}, then {"serving": 4711}
    {"start": "schedule"}                        the tasks of the schedule, at their times
    {"start": "prepare"}                         migrations and catalog, as `make run` does them; then it ends
    whenever one ends                            →  {"ended": 4711, "status": -9}

Everything ends when standard input does.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import threading
from contextlib import ExitStack
from typing import Any, Final

import django

from hypereal import preflight, run, server
from hypereal.child import end_with_parent
from hypereal.environment import Environment, read_or_exit
from tests.faults import failpoints

POLL_S: Final = 0.02

_lines = -1
"""Where the lines go: a descriptor of their own, since whatever else is printed is the log's."""


def main(descriptor: int) -> int:
    global _lines
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hypereal.settings")
    environment = read_or_exit(root=run.ROOT)
    _lines = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    django.setup()
    import hypereal.asgi  # noqa: F401  # what every web process would import

    nursery = Nursery(environment, descriptor)
    try:
        nursery.serve_orders()
    finally:
        nursery.end_all()
    return 0


class Nursery:
    """Forks children and says what becomes of them. It has no threads and no connections that a fork would share."""

    def __init__(self, environment: Environment, descriptor: int) -> None:
        self._environment = environment
        self._descriptor = descriptor
        self._children: set[int] = set()

    def serve_orders(self) -> None:
        pending = b""
        while True:
            self._reap()
            readable, _, _ = select.select([sys.stdin.fileno()], [], [], POLL_S)
            if not readable:
                continue
            data = os.read(sys.stdin.fileno(), 65_536)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                self._start(json.loads(line))

    def _start(self, order: dict[str, Any]) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._children.add(pid)
            say(started=pid, **{"as": order["start"]})
            return
        status = 1
        try:
            end_with_parent(parent)
            status = ROLES[order["start"]](self._environment, self._descriptor, order)
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self._children.discard(pid)
            say(ended=pid, status=os.waitstatus_to_exitcode(status))

    def end_all(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
        for pid in self._children:
            os.waitpid(pid, 0)


def web(environment: Environment, descriptor: int, order: dict[str, Any]) -> int:
    os.environ["FAILPOINT"] = order.get("failpoint", "")
    failpoints.install(os.environ)
    _say_when_serving()
    with ExitStack() as held:
        if environment.is_embedded:
            held.enter_context(preflight.data_directory(environment))
        return 0 if server.serve(environment, socket.socket(fileno=descriptor)) else 1


def _say_when_serving() -> None:
    original = server.Server.startup

    async def startup(self: server.Server, sockets: list[socket.socket] | None = None) -> None:
        await original(self, sockets)
        say(serving=os.getpid())

    server.Server.startup = startup  # type: ignore[method-assign, assignment]


def schedule(environment: Environment, descriptor: int, order: dict[str, Any]) -> int:
    from hypereal.scheduler import Scheduler

    os.close(descriptor)
    asked_to_stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked_to_stop.set())
    scheduler = Scheduler()
    scheduler.start()
    asked_to_stop.wait()
    scheduler.stop()
    return 0


def prepare(environment: Environment, descriptor: int, order: dict[str, Any]) -> int:
    run.prepare(environment)
    return 0


ROLES: Final = {"web": web, "schedule": schedule, "prepare": prepare}


def say(**facts: object) -> None:
    """One write each: lines of several processes do not mix."""
    os.write(_lines, json.dumps(facts).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
