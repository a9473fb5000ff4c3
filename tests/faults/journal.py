"""The oracle as its clients see it: a process to start, and a journal to read whatever became of everybody else."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.wish import parse_wish, said_in
from tests.flows.rig import ROOT

STOP_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Served:
    """One call as the upstream saw it."""

    tag: str
    endpoint: str
    is_stream: int
    input: int
    """What it reported, or would have."""
    output: int
    max_tokens: int | None
    prompt: str
    said_parts: int
    """Of its text: those that it sent."""
    is_reported: bool
    """It sent its final count, or was about to."""
    is_sent: bool
    """All of its reply left."""

    @property
    def said(self) -> int:
        """Output tokens in what it sent."""
        return said_in(parse_wish(self.prompt), self.said_parts, self.endpoint)


@dataclass(frozen=True, slots=True)
class OracleProcess:
    url: str
    """Its root, without any protocol's base path."""
    journal: Path

    def calls(self) -> dict[str, list[Served]]:
        """Everything so far, by tag: more than one where the gateway tried again."""
        found: dict[str, list[Served]] = {}
        with closing(sqlite3.connect(f"file:{self.journal}?mode=ro", uri=True)) as connection:
            rows = connection.execute(
                "SELECT tag, endpoint, is_stream, input, output, max_tokens, prompt, said, is_reported, is_sent"
                " FROM call ORDER BY id"
            )
            for tag, *facts in rows:
                found.setdefault(tag, []).append(Served(tag, *facts))
        return found


@contextmanager
def own_oracle(directory: Path) -> Iterator[OracleProcess]:
    """A running upstream, ended afterwards; its journal stays in `directory`."""
    journal = directory / "oracle.sqlite3"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.oracle", str(journal)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield OracleProcess(json.loads(process.stdout.readline())["url"], journal)
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=STOP_S)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
