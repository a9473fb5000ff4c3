"""The failpoints themselves: read exactly, reached by a real call, and nothing at all where none is named."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from tests.faults import failpoints
from tests.faults.callers import Seen, call, http_session, new_tag
from tests.faults.clusters import server_programs
from tests.faults.failpoints import SITES, Failpoint, FailpointReached
from tests.faults.redis_server import has_redis
from tests.faults.rig import Rig, own_rig
from tests.faults.wish import Wish
from tests.flows.endpoints import CHAT
from tests.flows.rig import Person, eventually

IS_EMBEDDED = not os.environ.get("DATABASE_URL")
needs_servers = pytest.mark.skipif(
    not IS_EMBEDDED and (server_programs() is None or not has_redis()), reason="the servers' programs are missing"
)


def test_a_variable_names_site_action_and_when() -> None:
    assert failpoints.read("F4:kill@3,F3:sleep:0.5%10,F1:raise") == [
        Failpoint("F4", "kill", nth=3),
        Failpoint("F3", "sleep", seconds=0.5, percent=10),
        Failpoint("F1", "raise"),
    ]
    assert failpoints.read("") == []


@pytest.mark.parametrize("text", ["F9:kill", "F4", "F4:explode", "F4:kill@", "kill", "F7:kill"])
def test_what_is_no_failpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no failpoint"):
        failpoints.read(text)


async def test_the_nth_time_is_the_only_one() -> None:
    point = Failpoint("F0", "raise", nth=2)
    await point.reach()
    with pytest.raises(FailpointReached, match="F0"):
        await point.reach()
    await point.reach()


def test_none_is_named_none_is_wrapped() -> None:
    from apps.gateway.journey import Journey
    from apps.ledger.committer import Committer
    from apps.ledger.store.postgres import PostgresStore
    from apps.ledger.store.statements import Statements

    def functions() -> list[object]:
        return [Journey.next, Committer.hold, Committer.settle, PostgresStore.commit, Statements.answers]

    before = functions()
    assert failpoints.install({}) == []
    assert functions() == before


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with own_rig(is_embedded=IS_EMBEDDED, workers=1) as rig:
        yield rig


@needs_servers
@pytest.mark.parametrize("site", SITES)
def test_a_call_that_gets_there_takes_its_process_with_it(rig: Rig, site: str) -> None:
    rig.gateway.kill_all()
    before = rig.settled()
    doomed = rig.gateway.start_web(f"{site}:kill")
    alice = rig.person("alice")
    rig.operator.tell_server()
    seen = asyncio.run(one_call(alice))
    rig.gateway.wait_for_end(doomed, timeout_s=10)
    assert (doomed.status, seen.outcome) == (-9, "broken")
    rig.gateway.start_web()
    # From the COMMIT on it is charged, though its caller never learned of it: a server finishes what it was sent.
    assert eventually(lambda: rig.settled() - before == (site in {"F5", "F6"}))
    reached = len(rig.oracle.calls().get(seen.wish.tag, []))
    assert reached == (0 if site in {"F0", "F1"} else 1)


@needs_servers
def test_a_call_that_fails_there_is_an_error_and_free(rig: Rig) -> None:
    rig.gateway.replace_all("F2:raise@1")
    alice = rig.person("alice")
    rig.operator.tell_server()
    seen = asyncio.run(one_call(alice))
    assert seen.status == 500
    eventually(lambda: alice.held == 0)
    assert alice.balance == alice.opening_balance
    assert asyncio.run(one_call(alice)).outcome == "served"


async def one_call(person: Person) -> Seen:
    async with http_session(keep_alive=False) as session:
        return await call(session, person, CHAT, Wish(new_tag("point"), gap_ms=5), is_stream=True)
