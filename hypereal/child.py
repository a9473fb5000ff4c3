"""`python -m hypereal.child PARENT_PID ROLE [FD]`: one process of the production shape, for the supervisor only.

It ends with its parent even where that is killed outright: on Linux the kernel tells it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from typing import Final, NoReturn

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
WORKER_CONCURRENCY: Final = 2

CELERY: Final = (sys.executable, "-m", "celery", "--app", "hypereal.celery", "--quiet")
CELERY_ROLES: Final = {
    "worker": (
        *CELERY,
        "worker",
        f"--concurrency={WORKER_CONCURRENCY}",
        "--loglevel=WARNING",
        "--without-gossip",
        "--without-mingle",
    ),
    "beat": (*CELERY, "beat", "--loglevel=WARNING", "--pidfile="),
}


def argv(role: str, *parameters: str) -> tuple[str, ...]:
    """The command line for a child of this process."""
    return (sys.executable, "-m", "hypereal.child", str(os.getpid()), role, *parameters)


def main(arguments: list[str]) -> int:
    parent, role, *parameters = arguments
    end_with_parent(int(parent))
    if role in CELERY_ROLES:
        _become(CELERY_ROLES[role])
    return _serve(int(parameters[0]))


def end_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent dies; end now if it is dead already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(1)


def _become(command: tuple[str, ...]) -> NoReturn:
    os.execv(command[0], command)


def _serve(descriptor: int) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hypereal.settings")
    from hypereal import server
    from hypereal.settings import ENVIRONMENT

    listener = socket.socket(fileno=descriptor)
    return 0 if server.serve(ENVIRONMENT, listener) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
