"""`make run`, as people run it: a process of its own, a terminal that is read, signals."""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 30.0
FIRST_REPLY_S = 5.0
HOLD_ON_S = 1.5

needs_servers = pytest.mark.skipif(
    not (os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL")),
    reason="the production shape needs DATABASE_URL and REDIS_URL",
)


class Installation:
    """A data directory, a port, and the settings that go with them."""

    def __init__(self, directory: Path, **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._log = directory / "stderr"
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.environ = {
            **kept,
            "HYPEREAL_DATA_DIR": str(directory / "var"),
            "PORT": str(self.port),
            "PYTHONUNBUFFERED": "1",
            **settings,
        }
        self.servers: list[subprocess.Popen[str]] = []

    def start(self, **settings: str) -> subprocess.Popen[str]:
        with self._log.open("a") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "hypereal.run"],
                cwd=ROOT,
                env={**self.environ, **settings},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.servers.append(server)
        return server

    def refusal(self, **settings: str) -> tuple[int, str]:
        """Exit status and everything said, of a start that must not succeed."""
        ended = subprocess.run(
            [sys.executable, "-m", "hypereal.run"],
            cwd=ROOT,
            env={**self.environ, **settings},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return ended.returncode, ended.stdout + ended.stderr

    def until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                if self.get("/readyz")[0] == 200:
                    return
            except OSError:
                pass
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    def get(self, path: str) -> tuple[int, str]:
        return self.ask("GET", path, {}, "")

    def ask(self, method: str, path: str, headers: dict[str, str], body: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body=body, headers=headers)
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        finally:
            connection.close()

    def stop(self, server: subprocess.Popen[str], how: signal.Signals = signal.SIGINT) -> str:
        """Stop it; return what it printed."""
        server.send_signal(how)
        printed, _ = server.communicate(timeout=PATIENCE_S)
        assert server.returncode == 0, self._log.read_text()
        return printed

    def clear(self) -> None:
        for server in self.servers:
            if server.poll() is None:
                server.terminate()
            server.communicate(timeout=60)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path)
    yield installation
    installation.clear()


@pytest.fixture
def production(tmp_path: Path) -> Iterator[Installation]:
    """An empty database of its own on the server that DATABASE_URL names."""
    name = f"hypereal_run_{secrets.token_hex(6)}"
    base, _, _ = os.environ["DATABASE_URL"].rpartition("/")
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    installation = Installation(
        tmp_path, DATABASE_URL=f"{base}/{name}", REDIS_URL=os.environ["REDIS_URL"], HYPEREAL_WORKERS="2"
    )
    yield installation
    installation.clear()
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def curl(printed: str) -> tuple[str, dict[str, str], str]:
    """Path, headers and body of the printed curl line."""
    (line,) = [line for line in printed.splitlines() if line.startswith("curl ")]
    words = shlex.split(line)
    headers = dict(words[place + 1].split(": ", 1) for place, word in enumerate(words) if word == "-H")
    path = re.sub(r"^http://[^/]+", "", words[1])
    return path, headers, words[-1]


def printed_until_serving(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    printed = ""
    for line in server.stdout:
        printed += line
        if "serving on" in line:
            break
    return printed


def test_the_first_run_prints_what_works_and_the_second_prints_none_of_it(installation: Installation) -> None:
    began = time.monotonic()
    server = installation.start()
    printed = printed_until_serving(server)
    path, headers, body = curl(printed)
    status, reply = installation.ask("POST", path, headers, body)
    assert time.monotonic() - began < FIRST_REPLY_S
    billing: dict[str, Any] = json.loads(reply)["hypereal"]["billing"]
    assert (status, billing["model"], billing["balance_before"]) == (200, "gpt-5-5", 1000)
    assert "user admin, password " in printed
    assert "embedded: one process on SQLite" in printed
    installation.stop(server)

    again = installation.start()
    installation.until_ready()
    assert installation.ask("POST", path, headers, body)[0] == 200
    second = installation.stop(again, signal.SIGTERM)
    assert "ck_" not in second
    assert "password" not in second
    assert "serving on" in second


def test_ctrl_c_lets_a_stream_end(installation: Installation) -> None:
    server = installation.start()
    path, headers, _ = curl(printed_until_serving(server))
    prompt = "[[simulate chunk-ms=50 chunks=30]]"
    body = json.dumps({"model": "gpt-5-5", "stream": True, "messages": [{"role": "user", "content": prompt}]})
    connection = http.client.HTTPConnection("127.0.0.1", installation.port, timeout=PATIENCE_S)
    connection.request("POST", path, body=body, headers=headers)
    reply = connection.getresponse()
    received = reply.read(200)
    server.send_signal(signal.SIGINT)
    received += reply.read()
    connection.close()
    server.communicate(timeout=PATIENCE_S)
    assert b'"finish_reason":"stop"' in received.replace(b'": "', b'":"')
    assert received.endswith(b"data: [DONE]\n\n")
    assert server.returncode == 0


def test_a_second_server_on_the_same_data_is_refused(installation: Installation) -> None:
    server = installation.start()
    installation.until_ready()
    status, told = installation.refusal()
    assert (status, len(told.splitlines())) == (2, 1)
    assert told.startswith(f"hypereal: another server (process {server.pid}) runs on ")


def test_a_taken_port_is_refused_before_anything_is_made(installation: Installation, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", installation.port)):
        status, told = installation.refusal()
    assert (status, told) == (
        2,
        f"hypereal: 127.0.0.1:{installation.port} is taken: stop what listens there, or set PORT\n",
    )
    assert not (tmp_path / "var" / "hypereal.sqlite3").exists()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"DATABASE_URL": "postgresql://127.0.0.1/x"}, "DATABASE_URL is set but REDIS_URL is not"),
        ({"HYPEREAL_WORKERS": "3"}, "HYPEREAL_WORKERS=3 needs DATABASE_URL and REDIS_URL"),
        ({"HYPEREAL_ENV": "production"}, "HYPEREAL_ENV=production needs SECRET_KEY"),
        (
            {"DATABASE_URL": "postgresql://127.0.0.1:1/x", "REDIS_URL": "redis://x"},
            "cannot use the database at 127.0.0.1",
        ),
        ({"DATABASE_URL": "mysql://x/y", "REDIS_URL": "redis://x"}, "DATABASE_URL must begin with postgres://"),
    ],
)
def test_settings_that_do_not_add_up_are_one_line(
    installation: Installation, settings: dict[str, str], line: str
) -> None:
    status, told = installation.refusal(**settings)
    assert (status, len(told.splitlines())) == (2, 1)
    assert told.startswith(f"hypereal: {line}")


def test_another_secret_is_named_and_refused(installation: Installation) -> None:
    server = installation.start()
    installation.until_ready()
    installation.stop(server)
    status, told = installation.refusal(HYPEREAL_KEY_PEPPER="another pepper")
    assert (status, len(told.splitlines())) == (2, 1)
    assert told.startswith("hypereal: HYPEREAL_KEY_PEPPER is not the one that this database was last used with")


@needs_servers
def test_the_production_shape_serves_survives_and_leaves_nothing_behind(production: Installation) -> None:
    server = production.start()
    path, headers, body = curl(printed_until_serving(server))
    production.until_ready()
    assert production.ask("POST", path, headers, body)[0] == 200

    family = {child.pid: child for child in psutil.Process(server.pid).children(recursive=True)}
    commands = [" ".join(child.cmdline()) for child in psutil.Process(server.pid).children()]
    assert sum(" web " in command for command in commands) == 2
    assert sum(" worker " in command for command in commands) == 1
    assert sum(" beat " in command for command in commands) == 1

    (victim, *_) = (pid for pid, child in family.items() if " web " in " ".join(child.cmdline()))
    os.kill(victim, signal.SIGKILL)
    time.sleep(HOLD_ON_S)
    production.until_ready()
    assert production.ask("POST", path, headers, body)[0] == 200
    family |= {child.pid: child for child in psutil.Process(server.pid).children(recursive=True)}

    production.stop(server)
    assert [pid for pid, child in family.items() if child.is_running()] == []
    with pytest.raises(ConnectionRefusedError):
        production.get("/healthz")
