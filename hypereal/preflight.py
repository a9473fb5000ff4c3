"""What must hold before a server starts. Each mistake is one clear line for the operator."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final
from urllib.parse import urlsplit

import redis
from django.db import connection
from django.db.utils import Error as DatabaseError

from hypereal import server
from hypereal.environment import Environment

LOCK_FILE: Final = "server.lock"
CONNECT_TIMEOUT_S: Final = 5
POSTGRES_SCHEMES: Final = ("postgres", "postgresql")
REDIS_SCHEMES: Final = ("redis", "rediss", "unix")


class CannotStart(Exception):
    """Something is in the way. The message is one line for the operator."""


def check_settings(environment: Environment) -> None:
    """What `environment.read` cannot know: what serving, as against running a command, needs.

    Raises: CannotStart.
    """
    if environment.is_production and not environment.allowed_hosts:
        raise CannotStart("HYPEREAL_ENV=production needs ALLOWED_HOSTS: the host names that callers use, with commas")
    if environment.is_embedded:
        return
    for name, url, schemes in (
        ("DATABASE_URL", environment.database_url, POSTGRES_SCHEMES),
        ("REDIS_URL", environment.redis_url, REDIS_SCHEMES),
    ):
        # The URL itself is not shown: it may hold a password.
        if url.partition("://")[0] not in schemes or "://" not in url:
            raise CannotStart(f"{name} must begin with {schemes[0]}://")
        try:
            _ = urlsplit(url).port
        except ValueError:
            raise CannotStart(
                f"{name} cannot be read: expected {schemes[0]}://user:password@host:port/name, with special characters "
                "of the password percent-encoded"
            ) from None


def listen(environment: Environment) -> socket.socket:
    """The socket to serve on.

    Raises: CannotStart.
    """
    try:
        return server.bind(environment.host, environment.port)
    except OSError as failure:
        where = f"{environment.host}:{environment.port}"
        if failure.errno == errno.EADDRINUSE:
            raise CannotStart(f"{where} is taken: stop what listens there, or set PORT") from None
        raise CannotStart(f"cannot listen on {where}: {failure.strerror or failure}") from None


@contextmanager
def data_directory(environment: Environment) -> Iterator[None]:
    """Keep the data directory to ourselves: SQLite's one writer and the in-process governor allow no second server.

    Raises: CannotStart.
    """
    try:
        environment.data_dir.mkdir(parents=True, exist_ok=True)
        lock = (environment.data_dir / LOCK_FILE).open("a+")
    except OSError as failure:
        raise CannotStart(f"cannot write to {environment.data_dir}: {failure.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotStart(
                f"another server{_owner(lock)} runs on {environment.data_dir}: stop it, or set HYPEREAL_DATA_DIR"
            ) from None
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def check_journal(environment: Environment) -> None:
    """Have a place for settlements that the database cannot take in time.

    Raises: CannotStart.
    """
    directory = environment.journal_dir
    if directory is None:
        return
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as failure:
        raise CannotStart(
            f"cannot keep the settlement journal in {directory}: {failure.strerror}; let HYPEREAL_DATA_DIR be a place"
            " that lasts, or set HYPEREAL_JOURNAL=off"
        ) from None


def check_stores(environment: Environment) -> None:
    """Reach the database and, in the production shape, Redis.

    Raises: CannotStart.
    """
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(CONNECT_TIMEOUT_S))
    try:
        connection.ensure_connection()
    except DatabaseError as failure:
        where = _place(environment.database_url) or str(environment.data_dir)
        raise CannotStart(f"cannot use the database at {where}: {_first_line(failure)}") from None
    if environment.is_embedded:
        return
    try:
        with redis.Redis.from_url(
            environment.redis_url, socket_connect_timeout=CONNECT_TIMEOUT_S, socket_timeout=CONNECT_TIMEOUT_S
        ) as client:
            client.ping()
    except (redis.RedisError, ValueError) as failure:
        where = _place(environment.redis_url)
        raise CannotStart(f"cannot use Redis at {where}: {_first_line(failure)}") from None


def _owner(lock: IO[str]) -> str:
    lock.seek(0)
    text = lock.read(20).strip()
    return f" (process {text})" if text.isdigit() else ""


def _place(url: str) -> str:
    """Host, port and path of a store's URL: what may be shown of it."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path


def _first_line(failure: Exception) -> str:
    return str(failure).strip().partition("\n")[0] or type(failure).__name__
