"""From route to route until one answers: what is asked again, how often, and what the record says of it."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from apps.core.errors import GatewayError
from apps.dialects.protocol import OPENAI_CHAT
from apps.gateway import retries as retries_module
from apps.gateway.pipeline import answer
from apps.gateway.retries import BUDGET_FLOOR, MAX_ATTEMPTS
from apps.governor.rules import CIRCUIT_LEAST_CALLS
from apps.upstreams.rules import UpstreamFailed
from apps.upstreams.transport.protocol import (
    UpstreamBroken,
    UpstreamGone,
    UpstreamTimeout,
    UpstreamUnreachable,
    UpstreamUnresponsive,
)
from tests.gateway.rig import DONE, Bench, Upstream, chunk, route_of, usage_chunk

REPLY = json.dumps(
    {
        "id": "x",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }
).encode()
WHOLE = [chunk("Twelve "), chunk("dogs"), chunk(finish=True), usage_chunk(100, 10), DONE]
ROUTES = [route_of(OPENAI_CHAT, key=key, priority=at) for at, key in enumerate("abc")]
GONE, REFUSED = UpstreamGone("gone"), UpstreamUnreachable("refused")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries_module, "BACKOFF_S", 0.002)


def served(*, stream: bool = False) -> Upstream:
    return Upstream(WHOLE if stream else [REPLY])


def refusing(status: int, retry_after: str | None = None) -> Upstream:
    upstream = Upstream([b"{}"], status=status)
    upstream.headers = {} if retry_after is None else {"retry-after": retry_after}
    return upstream


def bench(*replies: Upstream | Exception | float, routes: int = 1, stream: bool = False) -> Bench:
    return Bench(*ROUTES[:routes], replies=replies, stream=stream)


async def run(called: Bench) -> GatewayError | None:
    """Make the call; return what it failed with."""
    running = await called.running()
    called.record = running.record
    try:
        await answer(running, called.caller.receive, called.caller.send, called.stores)
    except GatewayError as failure:
        return failure
    finally:
        called.governor.finish(running.admission, tokens=None)
    return None


def asked(called: Bench) -> list[tuple[str, str]]:
    """The route and the outcome of each attempt, as the record says."""
    return [(attempt["route"], attempt["status"]) for attempt in called.record.attempts or ()]


async def test_a_call_that_is_served_at_once_has_no_attempts_to_tell() -> None:
    called = bench(served())
    assert await run(called) is None
    assert called.record.attempts is None


@pytest.mark.parametrize(
    ("failing", "status"),
    [
        (GONE, "connection lost"),
        (REFUSED, "unreachable"),
        (refusing(502), "502"),
        (refusing(503), "503"),
        (refusing(504), "504"),
        (refusing(529), "529"),
    ],
    ids=str,
)
async def test_what_passes_is_asked_again(failing: Upstream | Exception, status: str) -> None:
    called = bench(failing, served())
    assert await run(called) is None
    assert asked(called) == [("a", status), ("a", "200")]
    assert len(called.ledger.settled) == 1
    assert called.stores.retries.repeats == {"gpt-5-5": 1}
    assert called.stores.retries.failovers == {}


@pytest.mark.parametrize(
    "failing",
    [
        refusing(401),
        refusing(408),
        refusing(429),
        refusing(500),
        refusing(529, "30"),
        refusing(503, "3"),
        UpstreamTimeout("silent"),
        UpstreamUnresponsive("no connection"),
        UpstreamBroken("half a head"),
    ],
    ids=lambda failing: str(getattr(failing, "status", failing)),
)
async def test_what_does_not_pass_soon_is_asked_elsewhere_alone(failing: Upstream | Exception) -> None:
    alone = bench(failing)
    assert isinstance(await run(alone), UpstreamFailed)
    assert len(alone.wires.sent) == 1
    called = bench(failing, served(), routes=2)
    assert await run(called) is None
    assert [route for route, _ in asked(called)] == ["a", "b"]
    assert called.stores.retries.failovers == {"gpt-5-5": 1}
    assert called.stores.retries.repeats == {}


async def test_the_callers_own_mistake_is_asked_nowhere_else() -> None:
    called = bench(refusing(400), routes=2)
    failure = await run(called)
    assert failure is not None
    assert (failure.code, asked(called)) == ("invalid_request", [("a", "400")])


async def test_a_lost_connection_is_asked_again_before_another_route_and_its_cold_cache() -> None:
    called = bench(GONE, served(), routes=2)
    assert await run(called) is None
    assert asked(called) == [("a", "connection lost"), ("a", "200")]


async def test_no_route_loses_its_attempt_to_a_second_one_elsewhere() -> None:
    called = bench(GONE, refusing(500), served(), routes=3)
    assert await run(called) is None
    assert [route for route, _ in asked(called)] == ["a", "b", "c"]


async def test_other_routes_come_before_a_second_attempt() -> None:
    called = bench(REFUSED, refusing(500), served(), routes=2)
    assert await run(called) is None
    assert asked(called) == [("a", "unreachable"), ("b", "500"), ("a", "200")]


async def test_three_attempts_are_all() -> None:
    called = bench(*[refusing(503) for _ in range(9)])
    failure = await run(called)
    assert failure is not None
    assert (failure.code, len(called.wires.sent)) == ("upstream_overloaded", MAX_ATTEMPTS)
    assert called.ledger.settled == []


async def test_a_short_retry_after_is_waited_for_where_no_other_route_is_free() -> None:
    called = bench(refusing(429, "1"), served())
    began = time.monotonic()
    assert await run(called) is None
    assert time.monotonic() - began >= 1.0
    assert asked(called) == [("a", "429"), ("a", "200")]


async def test_a_route_that_limits_us_is_left_alone_by_the_next_call() -> None:
    first = bench(refusing(429, "30"), served(), routes=2)
    assert await run(first) is None
    second = bench(served(), routes=2)
    second.stores.retries = first.stores.retries
    assert await run(second) is None
    assert second.record.provider == "scripted"
    assert [sent.url for sent in second.wires.sent] == [ROUTES[1].base_urls[OPENAI_CHAT] + "/chat/completions"]
    assert second.stores.retries.ordered(ROUTES, time.monotonic())[0].key == "b"
    assert first.governor.circuit("a") == "closed"


async def test_no_attempt_begins_after_the_calls_time() -> None:
    called = bench(refusing(429, "2"), served())
    called.routes[0] = replace(ROUTES[0], total_timeout_s=0.5)
    assert isinstance(await run(called), UpstreamFailed)
    assert len(called.wires.sent) == 1


async def test_an_outage_spends_its_budget_and_no_more() -> None:
    called = bench(*[REFUSED for _ in range(200)])
    for _ in range(9):
        assert isinstance(await run(called), UpstreamFailed)
    # The circuit opened on the way; the budget alone allows three and a fifth of nine.
    assert len(called.wires.sent) <= 9 + BUDGET_FLOOR + 1
    assert called.stores.retries.repeats["gpt-5-5"] <= BUDGET_FLOOR + 1


async def test_what_the_upstream_shall_keep_is_not_asked_for_twice() -> None:
    called = bench(GONE, served())
    called.request = replace(called.request, wants_storing=True)
    assert isinstance(await run(called), UpstreamFailed)
    assert len(called.wires.sent) == 1


@pytest.mark.parametrize("body", [[b"<html>"], [REPLY[:40], UpstreamBroken("cut")], [b""]])
async def test_a_plain_reply_that_cannot_be_read_is_asked_elsewhere(body: list[Any]) -> None:
    called = bench(Upstream(body), served(), routes=2)
    assert await run(called) is None
    assert asked(called) == [("a", "broke off"), ("b", "200")]
    assert len(called.ledger.settled) == 1


@pytest.mark.parametrize(
    "begun", [[UpstreamBroken("cut")], [b'data: {"error": {"message": "Bang", "code": 529}}\n\n'], []]
)
async def test_a_stream_that_fails_before_a_word_is_asked_elsewhere(begun: list[Any]) -> None:
    called = bench(Upstream(begun), served(stream=True), routes=2, stream=True)
    assert await run(called) is None
    assert asked(called) == [("a", "broke off"), ("b", "200")]
    assert (called.caller.status, b"dogs" in called.caller.body) == (200, True)
    assert len(called.ledger.settled) == 1


async def test_a_stream_that_fails_after_a_word_is_asked_nowhere_else() -> None:
    called = bench(Upstream([chunk("Twelve "), UpstreamBroken("cut")]), served(stream=True), routes=2, stream=True)
    assert await run(called) is None
    assert len(called.wires.sent) == 1
    assert b'"upstream_error"' in called.caller.body
    assert called.ledger.settled == []


async def test_a_caller_that_left_is_served_nowhere_else() -> None:
    called = bench(Upstream([0.05, UpstreamBroken("cut")]), served(stream=True), routes=2, stream=True)
    called.caller.left.set()
    await run(called)
    assert len(called.wires.sent) == 1
    assert called.ledger.settled == []


@pytest.mark.parametrize("status", [401, 402, 403, 404])
async def test_operators_hear_that_an_upstream_refuses_them(status: int) -> None:
    called = bench(refusing(status))
    failure = await run(called)
    assert failure is not None
    assert (failure.code, failure.status) == ("upstream_error", 502)
    ((kind, subject, message, times),) = called.alerts
    assert (kind, subject, times) == ("upstream_refuses_us", "route a", 1)
    assert f"gpt-5-5 via scripted answers {status}" in message


async def test_operators_hear_that_a_circuit_opened() -> None:
    called = bench(*[refusing(500) for _ in range(CIRCUIT_LEAST_CALLS)])
    for _ in range(CIRCUIT_LEAST_CALLS):
        assert called.alerts == []
        await run(called)
    assert [told[:2] for told in called.alerts] == [("circuit_open", "route a")]
    failure = await run(called)
    assert failure is not None
    assert (failure.code, asked(called)) == ("circuit_open", [("a", "circuit open")])


async def test_a_wait_between_attempts_ends_with_the_server() -> None:
    called = bench(refusing(429, "2"), served())
    task = asyncio.create_task(run(called))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (len(called.wires.sent), len(called.ledger.released)) == (1, 1)
