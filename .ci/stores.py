"""Databases of their own for one test run, on servers that are already there."""

from __future__ import annotations

import sys
from collections.abc import Callable

import psycopg
import redis
from psycopg import sql

REDIS_NUMBERS = range(15, 0, -1)
MARKER = "hypereal-ci"
CONNECT_TIMEOUT_S = 5


def create_database(url: str, name: str) -> None:
    with psycopg.connect(f"{url}/postgres", autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def drop_database(url: str, name: str) -> None:
    """Drop it and what the test runner made from it."""
    with psycopg.connect(f"{url}/postgres", autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as connection:
        found = connection.execute(
            "SELECT datname FROM pg_database WHERE datname IN (%s, %s) OR starts_with(datname, %s)",
            [name, f"test_{name}", f"test_{name}_"],
        ).fetchall()
        for (database,) in found:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))


def take_redis(url: str) -> None:
    """Take a database that nobody uses, and print its number."""
    for number in REDIS_NUMBERS:
        with redis.Redis.from_url(f"{url}/{number}", socket_connect_timeout=CONNECT_TIMEOUT_S) as client:
            # The marker takes it: of two runs that see it empty, one sets it.
            if client.dbsize() == 0 and client.set(MARKER, "taken", nx=True):
                print(number)
                return
    sys.exit(f"no empty database on {url}")


def flush_redis(url: str, number: str) -> None:
    with redis.Redis.from_url(f"{url}/{number}", socket_connect_timeout=CONNECT_TIMEOUT_S) as client:
        client.flushdb()


COMMANDS: dict[str, Callable[..., None]] = {
    "create-database": create_database,
    "drop-database": drop_database,
    "take-redis": take_redis,
    "flush-redis": flush_redis,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
