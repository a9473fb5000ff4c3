"""The supervisor, as a process of its own, with children that note what happens to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 10.0

SUPERVISE = """
import sys
from pathlib import Path
from hypereal.supervisor import Program, Supervisor
programs = [Program(name=f"child {n}", argv=(sys.executable, "-c", code)) for n, code in enumerate(sys.argv[2:])]
sys.exit(Supervisor(programs, directory=Path(), grace_s=float(sys.argv[1])).run())
"""

NOTE = """
import os, signal, sys, time
def note(line):
    with open("notes", "a") as file:
        file.write(f"{line} {os.getpid()}\\n")
"""
FINISHES_ITS_WORK = (
    NOTE
    + """
def finish(*_):
    time.sleep(0.3)
    note("finished")
    sys.exit()
signal.signal(signal.SIGTERM, finish)
note("began")
time.sleep(60)
"""
)
STUBBORN = NOTE + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nnote('began')\ntime.sleep(60)\n"
SHORT_LIVED = NOTE + "note('began')\nsys.exit(7)\n"
MUST_NOT_START = NOTE + "note('began')\nsys.exit(2)\n"
LEAVES_A_CHILD = NOTE + "pid = os.fork()\nnote('began')\ntime.sleep(60 if pid == 0 else 0.2)\n"
ENDS_WITH_ITS_PARENT = (
    NOTE + "from hypereal.child import end_with_parent\nend_with_parent(os.getppid())\nnote('began')\ntime.sleep(60)\n"
)


class Rig:
    """One supervisor in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process: subprocess.Popen[str] | None = None

    def start(self, *children: str, grace_s: float = 5.0) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISE, str(grace_s), *children],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.process

    def pids(self, word: str) -> list[int]:
        path = self.directory / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith(word)]

    def until(self, fact: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not fact():
            assert time.monotonic() < deadline, f"notes: {self.pids('')}"
            time.sleep(0.02)

    def is_quiet(self) -> bool:
        """Every process that made a note has ended."""
        return not any(_is_running(pid) for pid in self.pids(""))

    def clear(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        for pid in self.pids(""):
            if _is_running(pid):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.communicate()


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.clear()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_every_child_finish_its_work(rig: Rig, stop: signal.Signals) -> None:
    supervisor = rig.start(FINISHES_ITS_WORK, FINISHES_ITS_WORK)
    rig.until(lambda: len(rig.pids("began")) == 2)
    supervisor.send_signal(stop)
    assert supervisor.wait(PATIENCE_S) == 0
    assert sorted(rig.pids("finished")) == sorted(rig.pids("began"))
    assert rig.is_quiet()


def test_a_child_that_dies_is_started_again_with_more_and_more_patience(rig: Rig) -> None:
    supervisor = rig.start(SHORT_LIVED)
    rig.until(lambda: len(rig.pids("began")) == 3)
    supervisor.terminate()
    _, told = supervisor.communicate(timeout=PATIENCE_S)
    assert supervisor.returncode == 0
    assert told.splitlines()[:2] == [
        "hypereal: child 0 ended (exit status 7); it starts again in 0.5 s",
        "hypereal: child 0 ended (exit status 7); it starts again in 1.0 s",
    ]


def test_a_child_that_is_killed_is_started_again(rig: Rig) -> None:
    supervisor = rig.start(FINISHES_ITS_WORK)
    rig.until(lambda: len(rig.pids("began")) == 1)
    os.kill(rig.pids("began")[0], signal.SIGKILL)
    rig.until(lambda: len(rig.pids("began")) == 2)
    supervisor.terminate()
    _, told = supervisor.communicate(timeout=PATIENCE_S)
    assert "child 0 ended (signal SIGKILL)" in told


def test_a_child_that_will_not_stop_is_killed_after_the_grace(rig: Rig) -> None:
    supervisor = rig.start(STUBBORN, grace_s=0.5)
    rig.until(lambda: len(rig.pids("began")) == 1)
    asked_at = time.monotonic()
    supervisor.terminate()
    assert supervisor.wait(PATIENCE_S) == 0
    assert 0.5 <= time.monotonic() - asked_at < 3
    assert rig.is_quiet()


def test_a_second_ctrl_c_does_not_wait(rig: Rig) -> None:
    supervisor = rig.start(STUBBORN, grace_s=60)
    rig.until(lambda: len(rig.pids("began")) == 1)
    supervisor.send_signal(signal.SIGINT)
    time.sleep(0.3)
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(PATIENCE_S) == 0
    assert rig.is_quiet()


def test_what_a_dead_child_left_behind_is_ended(rig: Rig) -> None:
    supervisor = rig.start(LEAVES_A_CHILD)
    rig.until(lambda: len(rig.pids("began")) == 2)
    rig.until(rig.is_quiet)
    supervisor.terminate()
    assert supervisor.wait(PATIENCE_S) == 0
    assert rig.is_quiet()


def test_a_child_that_must_not_start_ends_everything(rig: Rig) -> None:
    supervisor = rig.start(FINISHES_ITS_WORK, MUST_NOT_START)
    assert supervisor.wait(PATIENCE_S) == 2
    assert rig.is_quiet()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal")
def test_children_end_with_a_supervisor_that_is_killed_outright(rig: Rig) -> None:
    supervisor = rig.start(ENDS_WITH_ITS_PARENT)
    rig.until(lambda: len(rig.pids("began")) == 1)
    supervisor.kill()
    rig.until(rig.is_quiet)
