"""A gateway of several web processes on one socket, each of which can be killed, stopped, replaced by itself."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from tests.flows.rig import ROOT, Server

START_S: Final = 60.0
STOP_S: Final = 45.0
BACKLOG: Final = 2048


@dataclass(slots=True)
class Process:
    """One child of the nursery."""

    pid: int
    role: str
    failpoint: str = ""
    is_serving: bool = False
    status: int | None = None
    """Its exit status, once it ended; negative: the signal that ended it."""
    ended_at: float = 0.0
    """Monotonic."""

    @property
    def has_ended(self) -> bool:
        return self.status is not None


class Installation(Server):
    """`start` prepares the stores and brings `workers` up; callers wait in the socket's backlog while none is."""

    def __init__(self, data_dir: Path, stores: Mapping[str, str], *, workers: int = 2) -> None:
        super().__init__(data_dir, stores)
        self.workers = 1 if self.is_embedded else workers
        self.processes: dict[int, Process] = {}
        self._data_dir = data_dir
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=BACKLOG)
        self._nursery: subprocess.Popen[bytes] | None = None
        self._started: list[Process] = []
        self._has_changed = threading.Condition()

    @property
    def web(self) -> list[Process]:
        """The web processes that live."""
        with self._has_changed:
            return [one for one in self.processes.values() if one.role == "web" and not one.has_ended]

    def start(self) -> None:
        self._data_dir.mkdir(parents=True, exist_ok=True)
        with self._log_path.open("ab") as log:
            self._nursery = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.web", str(self._listener.fileno())],
                cwd=ROOT,
                env=self.environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=[self._listener.fileno()],
            )
        threading.Thread(target=self._listen, args=(self._nursery,), name="nursery", daemon=True).start()
        prepared = self._order(start="prepare")
        self.wait_for_end(prepared, timeout_s=START_S)
        assert prepared.status == 0, self.log
        for process in [self.start_web(wait=False) for _ in range(self.workers)]:
            self.wait_until_serving(process)
        if not self.is_embedded:
            self._order(start="schedule")

    def start_web(self, failpoint: str = "", *, wait: bool = True) -> Process:
        process = self._order(start="web", failpoint=failpoint)
        if wait:
            self.wait_until_serving(process)
        return process

    def wait_until_serving(self, process: Process) -> None:
        self._wait(lambda: process.is_serving or process.has_ended, START_S)
        assert process.is_serving, f"a web process ended with {process.status}:\n{self.log}"

    def wait_for_end(self, process: Process, *, timeout_s: float = STOP_S) -> None:
        self._wait(lambda: process.has_ended, timeout_s)

    def wait_for_an_end(self, processes: list[Process], *, timeout_s: float) -> None:
        """Until any of them ended."""
        self._wait(lambda: any(process.has_ended for process in processes), timeout_s)

    def signal(self, process: Process, number: int) -> None:
        if not process.has_ended:
            psutil.Process(process.pid).send_signal(number)

    def replace_all(self, failpoint: str = "") -> None:
        """Ask every web process to stop, with others in their place; the embedded one has to go first."""
        before = self.web
        if self.is_embedded:
            self._stop_all(before)
        for process in [self.start_web(failpoint, wait=False) for _ in range(self.workers)]:
            self.wait_until_serving(process)
        self._stop_all(before)

    def kill_all(self) -> None:
        processes = self.web
        for process in processes:
            self.signal(process, signal.SIGKILL)
        for process in processes:
            self.wait_for_end(process)

    def stop(self) -> int:
        """Ask every web process to stop, end the rest; 0 where all of them ended in order."""
        processes = self.web
        self._stop_all(processes)
        self._end_nursery()
        return max((process.status or 0 for process in processes), default=0)

    def kill(self) -> None:
        self._end_nursery()

    def close(self) -> None:
        self._end_nursery()
        self._listener.close()

    def _stop_all(self, processes: Sequence[Process]) -> None:
        for process in processes:
            self.signal(process, signal.SIGTERM)
        for process in processes:
            self.wait_for_end(process)

    def _end_nursery(self) -> None:
        if self._nursery is None:
            return
        assert self._nursery.stdin is not None
        self._nursery.stdin.close()
        try:
            self._nursery.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self._nursery.kill()
            self._nursery.wait()
        for process in self.processes.values():
            if not process.has_ended:
                process.status = -9
        self._nursery = None

    def _order(self, **order: str) -> Process:
        assert self._nursery is not None
        assert self._nursery.stdin is not None
        with self._has_changed:
            known = len(self._started)
            self._nursery.stdin.write(json.dumps(order).encode() + b"\n")
            self._nursery.stdin.flush()
            started = self._has_changed.wait_for(lambda: len(self._started) > known, START_S)
            assert started, f"nothing started:\n{self.log}"
            process = self._started[known]
            process.failpoint = order.get("failpoint", "")
            return process

    def _wait(self, is_so: Callable[[], bool], timeout_s: float) -> None:
        with self._has_changed:
            assert self._has_changed.wait_for(is_so, timeout_s), f"not within {timeout_s} s:\n{self.log[-4_000:]}"

    def _listen(self, nursery: subprocess.Popen[bytes]) -> None:
        assert nursery.stdout is not None
        with nursery.stdout:
            for line in nursery.stdout:
                said = json.loads(line)
                with self._has_changed:
                    self._note(said)
                    self._has_changed.notify_all()

    def _note(self, said: dict[str, Any]) -> None:
        if "started" in said:
            process = Process(said["started"], said["as"])
            self.processes[process.pid] = process
            self._started.append(process)
        elif "serving" in said:
            self.processes[said["serving"]].is_serving = True
        else:
            process = self.processes[said["ended"]]
            process.status, process.ended_at = said["status"], time.monotonic()
