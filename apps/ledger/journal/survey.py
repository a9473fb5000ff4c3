"""Journals seen from outside: for the proof of the ledger."""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from apps.ledger.journal.file import ASIDE, SUFFIX, parse, read_all


@dataclass(slots=True)
class Survey:
    """What journals hold, seen from outside."""

    pending: int = 0
    orphaned: list[str] = field(default_factory=list)
    """Files of dead processes that have waited for longer than an adoption should take, with settlements in them."""
    aside: list[str] = field(default_factory=list)


def survey(directory: Path, *, patience_s: float) -> Survey:
    """Look at the files of all processes, without taking any over for longer than the look."""
    found = Survey(aside=[str(path) for path in sorted(directory.glob(f"*{SUFFIX}{ASIDE}"))])
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            settlements, unreadable = parse(read_all(descriptor))
            found.pending += len(settlements)
            is_old = time.time() - os.fstat(descriptor).st_mtime > patience_s
            if (settlements or unreadable) and is_old and not _is_locked(descriptor):
                found.orphaned.append(str(path))
        finally:
            os.close(descriptor)
    return found


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
