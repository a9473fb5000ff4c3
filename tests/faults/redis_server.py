"""A Redis server of a test's own, in a temporary directory on a free port: flushed, paused, killed at will."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import redis

from tests.flows.rig import eventually, free_port

START_S: Final = 10.0
STOP_S: Final = 10.0


def has_redis() -> bool:
    return shutil.which("redis-server") is not None


class RedisServer:
    """Keeps nothing on disk: a restart is a flush with a pause."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Return once it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [*command, "--dir", str(self._directory)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        eventually(self._answers, timeout_s=START_S)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=STOP_S)
            self._process = None

    def flush(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def pause(self, milliseconds: int) -> None:
        """Answer nobody for so long: connections stay open."""
        with redis.Redis.from_url(self.url) as client:
            client.execute_command("CLIENT", "PAUSE", milliseconds, "ALL")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "redis-server ended"
        try:
            with redis.Redis.from_url(self.url, socket_connect_timeout=1, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


@contextmanager
def own_redis() -> Iterator[RedisServer]:
    """A running server, gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="hypereal-redis-"))
    server = RedisServer(directory)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(directory, ignore_errors=True)
