"""Somebody keeps the embedded database locked: it is away like any other, and nothing is lost."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.faults.calling import Calling, slow
from tests.flows.bills import bill
from tests.flows.endpoints import CHAT, MESSAGES, Tokens
from tests.flows.rig import Operator, Person, Server, eventually
from tests.flows.upstream import ScriptedUpstream

TOKENS = Tokens(input=1_000, output=400)
REFUSED_WITHIN_S = 2.7


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data", {}, module="tests.faults.serve")
    server.environ["HASTE"] = json.dumps({"settle": 1.5, "adopt": 1.0})
    server.start()
    yield server
    if server.is_running:
        server.kill()


@pytest.fixture
def operator(server: Server, scripted: ScriptedUpstream) -> Iterator[Operator]:
    """With upstreams that take their time."""
    operator = Operator(server)
    for endpoint in (CHAT, MESSAGES):
        script = scripted.script(slow(endpoint, TOKENS, gap_s=0.1))
        operator.run(
            "add_route", endpoint.model, "--provider", "scripted", "--dialect", endpoint.dialect,
            "--base-url", script.base_url + endpoint.base_path, "--upstream-model", "theirs",
        )  # fmt: skip
    operator.tell_server()
    yield operator
    operator.close()


@contextmanager
def locked(tmp_path: Path) -> Iterator[None]:
    """What a long transaction beside the server does to it."""
    with closing(sqlite3.connect(tmp_path / "data" / "hypereal.sqlite3", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def begin(person: Person) -> list[Calling]:
    calls = [
        Calling(person, endpoint, is_stream=is_stream) for endpoint in (CHAT, MESSAGES) for is_stream in (True, False)
    ]
    eventually(lambda: person.held > 0)
    time.sleep(0.2)
    return calls


def journals(tmp_path: Path) -> list[bytes]:
    return [content for file in (tmp_path / "data" / "journal").iterdir() if (content := file.read_bytes())]


def owed() -> object:
    return sum(2 * bill(endpoint.model, input=1_000, output=400) for endpoint in (CHAT, MESSAGES))


def test_settlements_wait_in_the_journal_for_whoever_keeps_the_database_locked(
    server: Server, operator: Operator, tmp_path: Path
) -> None:
    alice = operator.person("alice")
    calls = begin(alice)
    with locked(tmp_path):
        assert [call.billing["settlement"] for call in calls] == ["pending"] * 4
        (journal,) = journals(tmp_path)
        assert len(journal.splitlines()) == 4
        for endpoint in (CHAT, MESSAGES):
            began = time.monotonic()
            refused = alice.call(endpoint.path, endpoint.body())
            assert refused.refusal == (503, "store_unavailable")
            assert time.monotonic() - began < REFUSED_WITHIN_S
    eventually(lambda: journals(tmp_path) == [])
    assert (1_000 - alice.balance, alice.held) == (owed(), 0)
    assert operator.run("verify_ledger")["problems"] == []


def test_a_killed_servers_journal_is_settled_before_its_holds_are_given_back(
    server: Server, operator: Operator, tmp_path: Path
) -> None:
    alice = operator.person("alice")
    calls = begin(alice)
    with locked(tmp_path):
        assert [call.billing["settlement"] for call in calls] == ["pending"] * 4
        server.kill()
    server.start()
    assert (1_000 - alice.balance, alice.held, journals(tmp_path)) == (owed(), 0, [])
    assert {record["status"] for record in alice.records()} == {"succeeded"}
    assert "gave back" not in server.log
    assert operator.run("verify_ledger")["problems"] == []
