"""The database takes a settlement and its answer never comes: whatever the caller is told is true in the end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from apps.core.ids import new_id
from tests.faults.calling import Calling, slow
from tests.faults.clusters import Cluster, own_cluster, server_programs
from tests.faults.proxy import Proxy, Verdict, own_proxy
from tests.flows.bills import bill
from tests.flows.endpoints import CHAT, Tokens
from tests.flows.rig import Operator, Server, eventually
from tests.flows.upstream import ScriptedUpstream

pytestmark = pytest.mark.skipif(server_programs() is None, reason="PostgreSQL's server programs are not installed")

TOKENS = Tokens(input=1_000, output=400)
COST = bill(CHAT.model, input=1_000, output=400)
COMMIT, RECORDS = b"\0commit\0", b"\0insert_records\0"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with own_cluster() as cluster:
        yield cluster


class SwallowOne:
    """The first COMMIT that ends a call arrives, and is the last that its connection hears of."""

    def __init__(self) -> None:
        self.swallowed = 0

    def __call__(self, data: bytes) -> Verdict:
        if self.swallowed or COMMIT not in data or RECORDS not in data:
            return Verdict.PASS
        self.swallowed += 1
        return Verdict.PASS_THEN_SWALLOW


@contextmanager
def installation(
    directory: Path, cluster: Cluster, scripted: ScriptedUpstream, *, journal: str
) -> Iterator[tuple[Operator, Proxy]]:
    name = f"lost_{new_id().hex}"
    cluster.create_database(name)
    with own_proxy(cluster.port) as proxy:
        stores = {
            "DATABASE_URL": cluster.url(name, port=proxy.port),
            "REDIS_URL": os.environ.get("REDIS_URL") or "redis://127.0.0.1:1/0",
        }
        server = Server(directory / "data", stores, module="tests.faults.serve")
        server.environ |= {"HASTE": json.dumps({"settle": 1.0, "answer": 3.0}), "HYPEREAL_JOURNAL": journal}
        server.start()
        operator = Operator(server)
        script = scripted.script(slow(CHAT, TOKENS, gap_s=0.02))
        operator.run(
            "add_route", CHAT.model, "--provider", "scripted", "--dialect", CHAT.dialect,
            "--base-url", script.base_url + CHAT.base_path, "--upstream-model", "theirs",
        )  # fmt: skip
        operator.tell_server()
        try:
            yield operator, proxy
        finally:
            operator.close()
            server.kill()


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "stream"])
def test_a_charge_that_was_told_as_pending_is_made_once(
    is_stream: bool, tmp_path: Path, cluster: Cluster, scripted: ScriptedUpstream
) -> None:
    with installation(tmp_path, cluster, scripted, journal="on") as (operator, proxy):
        alice = operator.person("alice")
        swallow = proxy.behaviour.to_server = SwallowOne()
        call = Calling(alice, CHAT, is_stream=is_stream)
        assert (call.billing["settlement"], call.billing["credits_charged"]) == ("pending", COST)
        assert swallow.swallowed == 1
        journal = tmp_path / "data" / "journal"
        eventually(lambda: all(not file.read_bytes() for file in journal.iterdir()))
        assert (alice.balance, alice.held) == (1_000 - COST, 0)
        assert [record["credits_charged"] for record in alice.records()] == [COST]
        assert operator.run("verify_ledger")["problems"] == []
        assert alice.call(CHAT.path, CHAT.body()).billing["balance_before"] == 1_000 - COST


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "stream"])
def test_a_call_that_was_told_as_failed_costs_nothing_in_the_end(
    is_stream: bool, tmp_path: Path, cluster: Cluster, scripted: ScriptedUpstream
) -> None:
    with installation(tmp_path, cluster, scripted, journal="off") as (operator, proxy):
        alice = operator.person("alice")
        swallow = proxy.behaviour.to_server = SwallowOne()
        call = Calling(alice, CHAT, is_stream=is_stream)
        assert b"store_unavailable" in call.reply.body
        assert swallow.swallowed == 1
        eventually(lambda: alice.balance == 1_000)
        assert alice.held == 0
        (record,) = alice.records()
        entries = operator.run("explain", record["request_id"])["entries"]
        assert [(entry["kind"], entry["credits"]) for entry in entries] == [
            ("charge", COST),
            ("correction", COST),
        ]
        assert operator.run("verify_ledger")["problems"] == []
        assert alice.call(CHAT.path, CHAT.body()).billing["balance_before"] == 1_000
