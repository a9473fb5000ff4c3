"""Who serves cannot change what was booked: the gateway as a database role that may add entries and nothing more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.faults.clusters import own_cluster, server_programs
from tests.faults.redis_server import RedisServer, has_redis
from tests.flows.bills import bill
from tests.flows.endpoints import CHAT, Tokens
from tests.flows.rig import ROOT, Operator, Server, eventually
from tests.flows.upstream import ScriptedUpstream, served

pytestmark = pytest.mark.skipif(
    "os.environ.get('DATABASE_URL', '') == ''", reason="roles are PostgreSQL's: run with the suite on real servers"
)

FORBIDDEN = [
    "UPDATE ledger_entry SET amount_micro = amount_micro + 1",
    "DELETE FROM ledger_entry",
    "TRUNCATE ledger_entry",
    "TRUNCATE ledger_entry_default",
    "UPDATE ledger_entry_default SET amount_micro = 1",
    "INSERT INTO ledger_entry_default SELECT * FROM ledger_entry_default",
    "ALTER TABLE ledger_entry DISABLE TRIGGER ALL",
    "DROP TRIGGER ledger_entry_immutable ON ledger_entry",
    "ALTER TABLE ledger_entry DROP CONSTRAINT entry_amount_positive",
    "DROP TABLE ledger_entry",
    "CREATE OR REPLACE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TABLE anything (id int)",
    "DELETE FROM django_migrations",
    "SET ROLE hypereal_owner",
    "SET session_replication_role = replica",
]


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Server]:
    """A server that serves as one role and migrates as the other, on a cluster of its own that was empty before."""
    assert server_programs() is not None, "PostgreSQL's server programs are not installed"
    assert has_redis(), "redis-server is not installed"
    redis = RedisServer(tmp_path)
    redis.start()
    try:
        with own_cluster() as cluster:
            admin = cluster.create_database("roles")
            made = manage("create_roles", "--json", database=admin, redis=redis.url)
            assert made == '{"owner":"hypereal_owner","app":"hypereal_app","tables":0}'
            stores = {
                "DATABASE_URL": admin.replace("postgres@", "hypereal_app@"),
                "HYPEREAL_OWNER_DATABASE_URL": admin.replace("postgres@", "hypereal_owner@"),
                "REDIS_URL": redis.url,
            }
            server = Server(tmp_path / "data", stores)
            prepared = subprocess.run(
                [sys.executable, "-c", PREPARE], cwd=ROOT, env=server.environ, capture_output=True, text=True
            )
            assert prepared.returncode == 0, prepared.stderr
            server.start()
            try:
                yield server
            finally:
                if server.is_running:
                    server.kill()
    finally:
        redis.kill()


PREPARE = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "hypereal.settings"
from pathlib import Path
import django
from hypereal.environment import read_or_exit
django.setup()
from hypereal.run import prepare
prepare(read_or_exit(root=Path(".").resolve()))
"""


def manage(*command: str, database: str, redis: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database, "REDIS_URL": redis},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_who_serves_adds_entries_and_changes_none(installation: Server, scripted: ScriptedUpstream) -> None:
    operator = Operator(installation)
    try:
        script = scripted.script(served(CHAT, Tokens(input=1_000, output=400)))
        operator.run(
            "add_route", CHAT.model, "--provider", "scripted", "--dialect", CHAT.dialect,
            "--base-url", script.base_url + CHAT.base_path, "--upstream-model", "theirs",
        )  # fmt: skip
        operator.tell_server()
        alice = operator.person("alice", "--daily", "500")
        for is_stream in (False, True):
            assert alice.call(CHAT.path, CHAT.body(stream=is_stream)).status == 200
        cost = bill(CHAT.model, input=1_000, output=400)
        eventually(lambda: alice.held == 0)
        assert alice.balance == 1_000 - 2 * cost
        for task in ("ledger.sweep", "ledger.partitions"):
            operator.run_task(task)
        check_role(installation.environ["DATABASE_URL"])
        assert operator.run("verify_ledger")["ok"] is True
        assert alice.balance == 1_000 - 2 * cost
    finally:
        operator.close()


def check_role(url: str) -> None:
    """Everything that would change the books is refused; a month's partition can be made, and is protected too."""
    with psycopg.connect(url, autocommit=True) as connection:
        make = "SELECT hypereal_make_partition(%s, %s, %s, %s)"
        low, high = "11f00000-0000-7000-8000-000000000000", "12f00000-0000-7000-8000-000000000000"
        connection.execute(make, ["ledger_entry", "ledger_entry_2999_01", low, high])
        for statement in [*FORBIDDEN, "TRUNCATE ledger_entry_2999_01", "DROP TABLE ledger_entry_2999_01"]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
        with pytest.raises(psycopg.errors.RaiseException, match="no partition of ours"):
            connection.execute(make, ["accounts_user", "accounts_user_2999_01", low, high])


def test_roles_are_made_twice_to_the_same_effect(installation: Server) -> None:
    admin = installation.environ["DATABASE_URL"].replace("hypereal_app@", "postgres@")
    redis = installation.environ["REDIS_URL"]
    made = [manage("create_roles", "--json", database=admin, redis=redis) for _ in range(2)]
    assert made[0] == made[1]
    check_role(installation.environ["DATABASE_URL"])
    operator = Operator(installation)
    try:
        assert operator.person("bob").balance == 1_000
    finally:
        operator.close()


def test_who_serves_may_not_make_roles(installation: Server) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "create_roles", "--json"],
        cwd=ROOT,
        env=installation.environ,
        capture_output=True,
        text=True,
    )
    assert (done.returncode != 0, done.stdout) == (True, "")
    assert "this database user may not do it" in done.stderr
    assert "Traceback" not in done.stderr
