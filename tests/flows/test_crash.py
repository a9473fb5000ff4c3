"""The server is killed outright: whoever got a whole answer was billed for it, and nobody's credits stay held."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from tests.flows.bills import bill
from tests.flows.endpoints import CHAT, MESSAGES, RESPONSES, Endpoint, Tokens
from tests.flows.rig import Operator, Person, Server, events_of, eventually
from tests.flows.upstream import Script, ScriptedUpstream, served

TOKENS = Tokens(input=1_000, output=400)
CALLS = 50
KILLS = 3
SWEPT_S = 60.0
"""Within this the holds of a process that is gone are given back: its lease runs out, then the sweeper comes by."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one caller saw."""

    endpoint: Endpoint
    request_id: str | None
    billing: Any
    """None: it got no whole answer."""


@pytest.fixture
def operator(installation: Server) -> Iterator[Operator]:
    installation.start()
    operator = Operator(installation)
    yield operator
    operator.close()


def add_slow_upstreams(operator: Operator, scripted: ScriptedUpstream) -> list[Script]:
    """Each call takes 0.3 to 0.8 s, most of it while something is being said."""
    scripts = []
    for endpoint in (CHAT, RESPONSES, MESSAGES):
        script = scripted.script(served(endpoint, TOKENS, gap_s=0.08))
        operator.run(
            "add_route", endpoint.model, "--provider", "scripted", "--dialect", endpoint.dialect,
            "--base-url", script.base_url + endpoint.base_path, "--upstream-model", "theirs",
        )  # fmt: skip
        scripts.append(script)
    operator.tell_server()
    return scripts


async def call(client: httpx2.AsyncClient, person: Person, number: int) -> Seen:
    endpoint = (CHAT, RESPONSES, MESSAGES)[number % 3]
    is_stream = number % 5 != 0
    request_id, body = None, b""
    try:
        async with client.stream(
            "POST",
            f"{person.server.url}{endpoint.path}",
            content=json.dumps(endpoint.body(stream=is_stream)),
            headers=person.headers(),
        ) as reply:
            request_id = reply.headers["x-request-id"]
            async for part in reply.aiter_raw():
                body += part
    except (httpx2.TransportError, httpx2.StreamError):
        return Seen(endpoint, request_id, None)
    assert reply.status_code == 200, body
    return Seen(endpoint, request_id, billing_in(body, is_stream=is_stream))


def billing_in(body: bytes, *, is_stream: bool) -> Any:
    if not is_stream:
        return json.loads(body, parse_float=Decimal)["hypereal"]["billing"]
    for event in events_of(body):
        holder = event if event == "[DONE]" or "hypereal" in event else event.get("response", {})
        if "hypereal" in holder:
            return holder["hypereal"]["billing"]
    return None


async def call_all_while(server: Server, person: Person, *, kill_after_s: float) -> list[Seen]:
    """Fifty calls in a row of little waves; the server is killed in their midst."""
    limits = httpx2.Limits(max_connections=CALLS)
    async with httpx2.AsyncClient(timeout=30, limits=limits, trust_env=False, verify=False) as client:

        async def later(number: int) -> Seen:
            await asyncio.sleep(number * 0.01)
            return await call(client, person, number)

        tasks = [asyncio.create_task(later(number)) for number in range(CALLS)]
        await asyncio.sleep(kill_after_s)
        await asyncio.to_thread(server.kill)
        return await asyncio.gather(*tasks)


async def test_a_killed_server_leaves_billed_answers_and_nothing_held(
    installation: Server, operator: Operator, scripted: ScriptedUpstream
) -> None:
    add_slow_upstreams(operator, scripted)
    alice = operator.person("alice")
    seen: list[Seen] = []
    for number in range(KILLS):
        seen += await call_all_while(installation, alice, kill_after_s=0.5 + 0.25 * number)
        installation.start()
        if installation.is_embedded:
            assert alice.held == 0

    def is_nothing_held() -> bool:
        operator.run_task("ledger.sweep")
        return alice.held == 0

    eventually(is_nothing_held, timeout_s=SWEPT_S)
    records = {record["request_id"]: record for record in alice.records()}
    complete = [one for one in seen if one.billing is not None]
    assert 0 < len(complete) < len(seen) == KILLS * CALLS
    for one in complete:
        assert one.request_id is not None
        record = records[one.request_id]
        cost = bill(one.endpoint.model, input=1_000, output=400)
        assert (record["status"], record["credits_charged"], one.billing["credits_charged"]) == (
            "succeeded",
            cost,
            cost,
        )
    assert alice.balance == 1_000 - sum(record["credits_charged"] for record in records.values())
    assert operator.run("verify_ledger") == {
        "ok": True,
        "accounts": 2,
        "entries": 2 + sum(record["credits_charged"] > 0 for record in records.values()),
        "problems": [],
    }
    assert alice.call(CHAT.path, CHAT.body()).status == 200


async def test_a_server_that_is_asked_to_stop_lets_streams_end(
    installation: Server, operator: Operator, scripted: ScriptedUpstream
) -> None:
    scripts = add_slow_upstreams(operator, scripted)
    alice = operator.person("alice")
    async with httpx2.AsyncClient(timeout=30, trust_env=False, verify=False) as client:
        tasks = [asyncio.create_task(call(client, alice, number)) for number in (1, 2, 3)]
        await asyncio.to_thread(eventually, lambda: sum(len(script.calls) for script in scripts) == 3)
        began = time.monotonic()
        status = await asyncio.to_thread(installation.stop)
        seen = await asyncio.gather(*tasks)
    assert (status, time.monotonic() - began < 10) == (0, True)
    cost = {one.endpoint.model: bill(one.endpoint.model, input=1_000, output=400) for one in seen}
    assert all(one.billing["credits_charged"] == cost[one.endpoint.model] for one in seen)
    assert (alice.balance, alice.held) == (1_000 - sum(cost.values()), 0)
    assert "Traceback" not in installation.log
