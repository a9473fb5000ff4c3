"""One gateway for all flows of a run, on the stores under test, with an operator beside it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.flows.endpoints import Endpoint
from tests.flows.rig import Operator, Person, Server
from tests.flows.upstream import Answer, Received, Script, ScriptedUpstream

logging.getLogger("httpx2").setLevel(logging.WARNING)
"""A line for each of two hundred calls hides what failed."""


@contextmanager
def own_stores(name: str) -> Iterator[dict[str, str]]:
    """A database of its own beside the one that the run was given; nothing where it was given none."""
    database_url, redis_url = os.environ.get("DATABASE_URL", ""), os.environ.get("REDIS_URL", "")
    if not database_url or not redis_url:
        yield {}
        return
    server_url, _, given = database_url.rpartition("/")
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    database = sql.Identifier(f"{given}_flows_{name}{worker}")
    with psycopg.connect(f"{server_url}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(database))
        try:
            yield {"DATABASE_URL": f"{server_url}/{given}_flows_{name}{worker}", "REDIS_URL": redis_url}
        finally:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with own_stores("shared") as stores:
        server = Server(tmp_path_factory.mktemp("gateway"), stores)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def operator(server: Server) -> Iterator[Operator]:
    operator = Operator(server)
    yield operator
    operator.close()


@pytest.fixture
def alice(operator: Operator) -> Person:
    """Owns an account with 1,000 credits and a key without limits."""
    return operator.person("alice")


@pytest.fixture
def charlie(operator: Operator) -> Person:
    """A stranger with an account of his own."""
    return operator.person("charlie")


@pytest.fixture(scope="session")
def scripted() -> Iterator[ScriptedUpstream]:
    scripted = ScriptedUpstream()
    yield scripted
    scripted.close()


AddUpstream = Callable[..., Script]


@pytest.fixture
def add_upstream(operator: Operator, scripted: ScriptedUpstream) -> Iterator[AddUpstream]:
    """`add_upstream(CHAT, answer)`: a scripted provider as the upstream of the endpoint's model while the test runs."""
    routes: list[str] = []

    def add(
        endpoint: Endpoint,
        answer: Callable[[Received], Answer] | Answer,
        *,
        model: str | None = None,
        priority: int = 0,
        base_url: str | None = None,
        **timeouts_ms: int,
    ) -> Script:
        script = scripted.script(answer)
        deadlines = [word for name, value in timeouts_ms.items() for word in (f"--{name.replace('_', '-')}", value)]
        added = operator.run(
            "add_route", model or endpoint.model, "--provider", "scripted", "--dialect", endpoint.dialect,
            "--base-url", (base_url or script.base_url) + endpoint.base_path, "--upstream-model", "theirs",
            "--priority", priority, *deadlines,
        )  # fmt: skip
        routes.append(added["route_id"])
        operator.tell_server()
        script.route_id = added["route_id"]
        return script

    yield add
    for route_id in routes:
        operator.run("remove_route", route_id)
    if routes:
        operator.tell_server()


SetPolicy = Callable[..., None]


@pytest.fixture
def set_policy(operator: Operator) -> Iterator[SetPolicy]:
    """`set_policy("gpt-5-5", concurrency=1)`, put back when the test ends."""
    before: dict[str, dict[str, object]] = {}

    def write(model_id: str, figures: dict[str, object]) -> None:
        options = [
            word
            for name, value in figures.items()
            for word in (f"--{name.replace('_', '-')}", "none" if value is None else value)
        ]
        operator.run("set_policy", model_id, *options)
        operator.tell_server()

    def change(model_id: str, **figures: object) -> None:
        policy = operator.run("set_policy", model_id)
        before.setdefault(model_id, {}).update({name: policy[name] for name in figures if name in policy})
        write(model_id, figures)

    yield change
    for model_id, figures in before.items():
        write(model_id, figures)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Server]:
    """A gateway of the test's own, not started yet: to be killed, stopped, started again."""
    with own_stores("own") as stores:
        server = Server(tmp_path / "data", stores)
        yield server
        if server.is_running:
            server.kill()
