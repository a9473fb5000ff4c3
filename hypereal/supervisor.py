"""The production shape on one machine: child processes that are started, restarted with backoff, and ended together.

Each child leads a session of its own, so that Ctrl-C in a terminal reaches only us: we ask the children to stop, wait
for their streams, and then end whatever is left of their process groups.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

POLL_S: Final = 0.2
FIRST_BACKOFF_S: Final = 0.5
LONGEST_BACKOFF_S: Final = 30.0
SETTLED_S: Final = 60.0
"""A child that lived this long starts again at once."""
REFUSED_TO_START: Final = 2
"""A child's exit status when its settings do not add up: starting it again would not help."""
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: `argv` with the current directory, environment and inherited file descriptors of the supervisor."""

    name: str
    argv: tuple[str, ...]
    files: tuple[int, ...] = ()


class Child:
    """One program's process, or the wait for its next start. Times are monotonic seconds."""

    def __init__(self, program: Program, *, directory: Path) -> None:
        self.program = program
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_at = 0.0
        self._backoff_s = FIRST_BACKOFF_S

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start_when_due(self, now: float) -> None:
        if self._process is not None or now < self._start_at:
            return
        self._process = subprocess.Popen(
            self.program.argv,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            pass_fds=self.program.files,
            start_new_session=True,
        )
        self._started_at = now

    def reap(self, now: float) -> int | None:
        """The exit status of a process that ended since the last look, its group ended with it; else None."""
        if self._process is None or (status := self._process.poll()) is None:
            return None
        self._end_group(self._process.pid)
        self._process = None
        if now - self._started_at >= SETTLED_S:
            self._backoff_s = FIRST_BACKOFF_S
        self._start_at = now + self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, LONGEST_BACKOFF_S)
        return status

    @property
    def restart_in_s(self) -> float:
        return max(0.0, self._start_at - time.monotonic())

    def ask_to_stop(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def end(self) -> None:
        """Kill the whole group, now."""
        if self._process is not None:
            self._end_group(self._process.pid)
            self._process.wait()
            self._process = None

    @staticmethod
    def _end_group(leader: int) -> None:
        try:
            os.killpg(leader, signal.SIGKILL)
        except ProcessLookupError:
            pass  # nobody is left in it


class Supervisor:
    """Keeps programs running until a signal comes; then `on_stop`, SIGTERM for all, `grace_s`, SIGKILL for the rest."""

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        directory: Path,
        grace_s: float,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._children = [Child(program, directory=directory) for program in programs]
        self._grace_s = grace_s
        self._on_stop = on_stop
        self._is_asked = threading.Event()
        self._is_forced = threading.Event()

    def run(self) -> int:
        """Return the exit status: 0 after a signal, 2 where a child said that it must not start."""
        before = {name: signal.signal(name, self._on_signal) for name in STOP_SIGNALS}
        try:
            return self._keep_running()
        finally:
            self._stop()
            for name, handler in before.items():
                signal.signal(name, handler)

    def _keep_running(self) -> int:
        while not self._is_asked.is_set():
            now = time.monotonic()
            for child in self._children:
                status = child.reap(now)
                if status == REFUSED_TO_START:
                    return status
                if status is not None:
                    _say(f"{child.program.name} ended ({_how(status)}); it starts again in {child.restart_in_s:.1f} s")
                child.start_when_due(now)
            self._is_asked.wait(POLL_S)
        return 0

    def _stop(self) -> None:
        self._on_stop()
        for child in self._children:
            child.ask_to_stop()
        deadline = time.monotonic() + self._grace_s
        while any(child.is_running for child in self._children):
            now = time.monotonic()
            if now >= deadline or self._is_forced.is_set():
                break
            for child in self._children:
                child.reap(now)
            self._is_forced.wait(POLL_S / 4)
        for child in self._children:
            child.end()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._is_asked.is_set() and number == signal.SIGINT:
            self._is_forced.set()  # a second Ctrl-C does not wait for streams
        self._is_asked.set()


def _how(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _say(line: str) -> None:
    print(f"hypereal: {line}", file=sys.stderr, flush=True)
