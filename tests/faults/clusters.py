"""A PostgreSQL cluster of a test's own, in a temporary directory on a free port: stopped, killed and started at will.

Its server programs must be installed (`initdb`, `pg_ctl`); nothing of a server that runs already is touched.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final, Literal

import psycopg
from psycopg import sql

from tests.flows.rig import free_port

DEBIAN: Final = Path("/usr/lib/postgresql")
PG_CTL_S: Final = 60
SERVER_USER: Final = "postgres"
"""The server refuses to run as root; then it runs as this user, who need not exist otherwise."""

StopMode = Literal["smart", "fast", "immediate"]


@cache
def server_programs() -> Path | None:
    """The directory of PostgreSQL's server programs; None where they are not installed."""
    found = shutil.which("pg_ctl")
    if found is not None and (Path(found).resolve().parent / "initdb").exists():
        return Path(found).resolve().parent
    versions = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


class Cluster:
    """One cluster. Durable as in production: `fsync` stays on."""

    def __init__(self, directory: Path, *, settings: Mapping[str, str] | None = None) -> None:
        programs = server_programs()
        assert programs is not None, "PostgreSQL's server programs are not installed"
        self._programs = programs
        self._data = directory / "data"
        self._log = directory / "log"
        self._settings = dict(settings or {})
        self.port = free_port()
        self.is_running = False
        self._run("initdb", "-D", self._data, "-U", SERVER_USER, "-A", "trust", "-E", "UTF8", "--locale=C")

    def url(self, database: str = "postgres", *, port: int | None = None) -> str:
        """`port`: of a proxy in front of it."""
        return f"postgresql://{SERVER_USER}@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        """Return once it takes connections: after a crash, once it has recovered."""
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "''",
            "shared_buffers": "32MB",
            **self._settings,
        }
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._run("pg_ctl", "start", "-D", self._data, "-l", self._log, "-w", "-t", str(PG_CTL_S), "-o", options)
        self.is_running = True

    def stop(self, mode: StopMode = "fast") -> None:
        """`immediate` is a crash: every session is cut off and the log is replayed at the next start."""
        self._run("pg_ctl", "stop", "-D", self._data, "-m", mode, "-w", "-t", str(PG_CTL_S))
        self.is_running = False

    def set_and_restart(self, **settings: str) -> None:
        self._settings |= settings
        self.stop()
        self.start()

    def create_database(self, name: str) -> str:
        """An empty database; its URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _run(self, program: str, *arguments: Path | str) -> None:
        user = pwd.getpwnam(SERVER_USER) if os.geteuid() == 0 else None
        # Not a pipe: the server would inherit it, and whoever reads it would wait for the server's end.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [str(self._programs / program), *map(str, arguments)],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=user and user.pw_uid,
                group=user and user.pw_gid,
                extra_groups=None if user is None else [],
                timeout=2 * PG_CTL_S,
            )
            output.seek(0)
            said = output.read().decode(errors="replace")
        assert done.returncode == 0, f"{program} failed: {said}\n{self.log}"


@contextmanager
def own_cluster(*, settings: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """A running cluster, gone with its directory afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="hypereal-pg-", dir="/tmp"))
    try:
        if os.geteuid() == 0:
            user = pwd.getpwnam(SERVER_USER)
            os.chown(directory, user.pw_uid, user.pw_gid)
        cluster = Cluster(directory, settings=settings)
        cluster.start()
        try:
            yield cluster
        finally:
            if cluster.is_running:
                cluster.stop("immediate")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
