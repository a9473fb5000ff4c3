"""The database crashes while calls run: callers are told in time, nothing is lost, nothing is billed twice."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.faults.calling import Calling, slow
from tests.faults.clusters import Cluster, own_cluster, server_programs
from tests.flows.bills import bill
from tests.flows.endpoints import CHAT, MESSAGES, RESPONSES, TEXT_ENDPOINTS, Endpoint, Tokens
from tests.flows.rig import Operator, Person, Server, eventually
from tests.flows.upstream import Script, ScriptedUpstream

pytestmark = pytest.mark.skipif(server_programs() is None, reason="PostgreSQL's server programs are not installed")

TOKENS = Tokens(input=1_000, output=400)
HASTE = {"settle": 1.5, "adopt": 1.0}
REFUSED_WITHIN_S = 2.7
"""Two seconds of patience, and what a busy machine adds."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with own_cluster() as cluster:
        yield cluster


class Site:
    """An installation on the cluster, an operator beside it, and upstreams that take their time."""

    def __init__(self, directory: Path, cluster: Cluster, scripted: ScriptedUpstream, **environ: str) -> None:
        self.cluster = cluster
        database_url = cluster.create_database(f"site_{directory.name[-40:]}".replace("-", "_"))
        stores = {"DATABASE_URL": database_url, "REDIS_URL": os.environ.get("REDIS_URL") or "redis://127.0.0.1:1/0"}
        self.data_dir = directory / "data"
        self.server = Server(self.data_dir, stores, module="tests.faults.serve")
        self.server.environ |= {"HASTE": json.dumps(HASTE), **environ}
        self.server.start()
        self.operator = Operator(self.server)
        self.scripts: dict[str, Script] = {}
        self._scripted = scripted

    def add_upstream(self, endpoint: Endpoint, *, gap_s: float = 0.0) -> Script:
        script = self._scripted.script(slow(endpoint, TOKENS, gap_s=gap_s))
        self.operator.run(
            "add_route", endpoint.model, "--provider", "scripted", "--dialect", endpoint.dialect,
            "--base-url", script.base_url + endpoint.base_path, "--upstream-model", "theirs",
        )  # fmt: skip
        self.operator.tell_server()
        return script

    @property
    def journals(self) -> list[bytes]:
        """What of them is not empty."""
        files = sorted((self.data_dir / "journal").glob("*"))
        return [content for content in (file.read_bytes() for file in files) if content]

    def close(self) -> None:
        if not self.cluster.is_running:
            self.cluster.start()
        self.operator.close()
        if self.server.is_running:
            self.server.kill()


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster, scripted: ScriptedUpstream) -> Iterator[Site]:
    site = Site(tmp_path, cluster, scripted)
    yield site
    site.close()


def begin(site: Site, person: Person, endpoints: tuple[Endpoint, ...] = TEXT_ENDPOINTS) -> list[Calling]:
    """A stream and a plain call of each endpoint, all of them upstream by now."""
    scripts = [site.add_upstream(endpoint, gap_s=0.15) for endpoint in endpoints]
    calls = [Calling(person, endpoint, is_stream=is_stream) for endpoint in endpoints for is_stream in (True, False)]
    eventually(lambda: sum(len(script.calls) for script in scripts) == len(calls))
    return calls


def cost(*endpoints: Endpoint) -> Decimal:
    return sum((bill(endpoint.model, input=1_000, output=400) for endpoint in endpoints), Decimal(0))


def assert_sound(site: Site) -> None:
    report = site.operator.run("verify_ledger")
    assert (report["ok"], report["problems"]) == (True, [])


def test_calls_that_end_in_a_short_outage_are_billed_once_it_is_over(site: Site) -> None:
    site.server.environ["HASTE"] = "{}"
    site.server.stop()
    site.server.start()
    alice = site.operator.person("alice")
    streams = [call for call in begin(site, alice) if call.is_stream]
    site.cluster.stop("immediate")
    time.sleep(3)
    site.cluster.start()
    back_at = time.monotonic()
    for call in streams:
        assert call.billing["credits_charged"] == cost(call.endpoint)
        assert call.billing["balance_before"] - call.billing["balance_after"] == cost(call.endpoint)
    assert time.monotonic() - back_at < 5
    served_calls = [record for record in alice.records() if record["status"] == "succeeded"]
    assert alice.balance == 1_000 - sum(record["credits_charged"] for record in served_calls)
    assert alice.call(CHAT.path, CHAT.body()).status == 200
    assert_sound(site)
    assert site.journals == []


def test_new_calls_are_refused_in_time_and_served_again_in_time(site: Site) -> None:
    alice = site.operator.person("alice")
    for endpoint in (CHAT, MESSAGES):
        site.add_upstream(endpoint)
        assert alice.call(endpoint.path, endpoint.body()).status == 200
    site.cluster.stop("immediate")
    for endpoint in (CHAT, MESSAGES, CHAT, MESSAGES):
        began_at = time.monotonic()
        reply = alice.call(endpoint.path, endpoint.body())
        assert time.monotonic() - began_at < REFUSED_WITHIN_S
        assert reply.refusal == (503, "store_unavailable")
        assert int(reply.headers["retry-after"]) >= 1
    site.cluster.start()
    back_at = time.monotonic()
    eventually(lambda: alice.call(CHAT.path, CHAT.body()).status == 200)
    assert time.monotonic() - back_at < 5
    assert_sound(site)


def test_settlements_of_a_long_outage_are_pending_and_made_when_it_is_over(site: Site) -> None:
    alice = site.operator.person("alice")
    calls = begin(site, alice)
    site.cluster.stop("immediate")
    for call in calls:
        assert call.reply.status == 200
        assert call.billing == {
            "model": call.endpoint.model,
            "credits_charged": cost(call.endpoint),
            "balance_before": None,
            "balance_after": None,
            "settlement": "pending",
        }
    (journal,) = site.journals
    assert len(journal.splitlines()) == len(calls)
    assert b"Twelve" not in journal
    assert b"hypereal_ledger_journal_pending 6" in alice.get("/metrics").body
    site.cluster.start()
    eventually(lambda: site.journals == [], timeout_s=5)
    owed = 2 * cost(*TEXT_ENDPOINTS)
    assert (alice.balance, alice.held) == (1_000 - owed, 0)
    assert sorted(record["credits_charged"] for record in alice.records()) == sorted(
        2 * [cost(endpoint) for endpoint in TEXT_ENDPOINTS]
    )
    assert_sound(site)


def test_a_killed_servers_journal_is_settled_by_the_next(site: Site) -> None:
    alice = site.operator.person("alice")
    calls = begin(site, alice, (CHAT, RESPONSES))
    site.cluster.stop("immediate")
    assert [call.billing["settlement"] for call in calls] == ["pending"] * 4
    site.server.kill()
    site.cluster.start()
    site.server.start()
    eventually(lambda: site.journals == [])
    assert (alice.balance, alice.held) == (1_000 - 2 * cost(CHAT, RESPONSES), 0)
    # And no second time, when it starts again.
    site.server.kill()
    site.server.start()
    assert alice.balance == 1_000 - 2 * cost(CHAT, RESPONSES)
    assert_sound(site)


def test_a_neighbour_settles_what_a_killed_process_left(site: Site) -> None:
    alice = site.operator.person("alice")
    neighbour = Server(site.data_dir, {}, module="tests.faults.serve")
    neighbour.environ = {**site.server.environ, "PORT": str(neighbour.port)}
    neighbour.start()
    try:
        calls = begin(site, alice, (MESSAGES,))
        site.cluster.stop("immediate")
        assert [call.billing["settlement"] for call in calls] == ["pending"] * 2
        site.server.kill()
        site.cluster.start()
        eventually(lambda: site.journals == [])
        assert (alice.balance, alice.held) == (1_000 - 2 * cost(MESSAGES), 0)
        assert "2 settlements of a process that is gone are replayed" in neighbour.log
    finally:
        neighbour.kill()


def test_without_a_journal_calls_of_a_long_outage_fail_and_cost_nothing(
    tmp_path: Path, cluster: Cluster, scripted: ScriptedUpstream
) -> None:
    site = Site(tmp_path, cluster, scripted, HYPEREAL_JOURNAL="off")
    try:
        alice = site.operator.person("alice")
        calls = begin(site, alice, (CHAT, MESSAGES))
        cluster.stop("immediate")
        for call in calls:
            assert call.billing is None if call.is_stream else call.reply.refusal == (503, "store_unavailable")
            assert b"store_unavailable" in call.reply.body
        assert not (site.data_dir / "journal").exists()
        cluster.start()
        eventually(lambda: alice.held == 0)
        assert alice.balance == 1_000
        assert [record["status"] for record in alice.records()] == ["failed"] * 4
        assert_sound(site)
    finally:
        site.close()


def test_a_database_that_takes_no_writes_is_away_and_no_operation_is_bad(site: Site) -> None:
    """A standby that is not promoted yet, a disk that an operator protects."""
    alice = site.operator.person("alice")
    site.add_upstream(CHAT)
    site.cluster.set_and_restart(default_transaction_read_only="on")
    assert alice.call(CHAT.path, CHAT.body()).refusal == (503, "store_unavailable")
    assert "operation Hold failed" not in site.server.log
    site.cluster.set_and_restart(default_transaction_read_only="off")
    eventually(lambda: alice.call(CHAT.path, CHAT.body()).status == 200)
