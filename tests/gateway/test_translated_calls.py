"""A call between two dialects: what goes upstream, what comes back, and what it costs where it fails."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from apps.core import headers
from apps.dialects import registry
from apps.gateway.pipeline import answer
from apps.gateway.running import Running
from apps.governor.rules import CIRCUIT_LEAST_CALLS
from apps.governor.store.memory import MemoryGovernor
from apps.upstreams.rules import UpstreamFailed
from tests.gateway.rig import Bench, Upstream, route_of
from tests.gateway.telegraph import TELEGRAPH, ChatCaller, ChatWriter, Telegraph, tape

OVER = tape({"over": True, "in": 100, "out": 10})
WHOLE = [tape({"said": "Twelve "}), tape({"said": "dogs"}), OVER]


@pytest.fixture(autouse=True)
def adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.CALLERS, "openai-chat", ChatCaller())
    monkeypatch.setitem(registry.UPSTREAMS, TELEGRAPH, Telegraph())


def bench(*steps: bytes | float | Exception, governor: MemoryGovernor | None = None, **fields: Any) -> Bench:
    return Bench(route_of(TELEGRAPH), replies=[Upstream(steps)], governor=governor, **fields)


async def run(bench: Bench) -> Running:
    running = await bench.running()
    await answer(running, bench.caller.receive, bench.caller.send, bench.stores)
    return running


def shown(bench: Bench) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in bench.caller.body.splitlines() if line.startswith(b"data: ")]


def header(bench: Bench, name: bytes) -> bytes | None:
    found: Sequence[tuple[bytes, bytes]] = bench.caller.sent[0]["headers"]
    return dict(found).get(name)


async def test_a_stream_is_translated_and_billed_by_what_the_upstream_counted() -> None:
    called = bench(*WHOLE)
    await run(called)
    (sent,) = called.wires.sent
    assert sent.url == "http://127.0.0.1/v1/theirs/tape"
    assert json.loads(sent.body)["text"] == "Hi"
    *texts, end = shown(called)
    assert texts == [{"model": "gpt-5-5", "text": "Twelve "}, {"model": "gpt-5-5", "text": "dogs"}]
    assert end["end"] == 10
    assert [settled.charge_micro for settled in called.ledger.settled] == [120]


async def test_a_plain_reply_is_translated_and_billed() -> None:
    called = bench(json.dumps({"said": "Twelve dogs", "in": 100, "out": 10}).encode(), stream=False)
    await run(called)
    assert called.wires.sent[0].url == "http://127.0.0.1/v1/theirs/wire"
    reply = json.loads(called.caller.body)
    assert (reply["model"], reply["text"]) == ("gpt-5-5", "Twelve dogs")
    assert reply["hypereal"]["billing"]["credits_charged"] == 0.00012


async def test_a_route_may_show_the_upstreams_name() -> None:
    called = Bench(route_of(TELEGRAPH, exposes_model=True), replies=[Upstream(WHOLE)])
    await run(called)
    assert shown(called)[0]["model"] == "theirs"


async def test_what_was_left_out_is_named_in_the_header_and_on_the_record() -> None:
    called = bench(*WHOLE, temperature=0.5)
    running = await run(called)
    assert header(called, headers.ADAPTED) == b"temperature: left out"
    assert running.record.adapted == "temperature: left out"


async def test_an_error_within_the_stream_reaches_the_caller_as_its_own_and_is_not_billed() -> None:
    called = bench(WHOLE[0], tape({"broke": "the line is down"}))
    running = await run(called)
    assert shown(called)[-1] == {"error": "upstream_error", "message": "the line is down"}
    assert called.ledger.settled == []
    assert [released.record.status for released in called.ledger.released if released.record] == ["failed"]
    assert running.record.error_code == "upstream_error"


async def test_errors_within_streams_open_the_circuit() -> None:
    governor = MemoryGovernor()
    for _ in range(CIRCUIT_LEAST_CALLS):
        assert governor.circuit("route") == "closed"
        called = bench(WHOLE[0], tape({"broke": "the line is down", "busy": True}), governor=governor)
        running = await run(called)
        governor.finish(running.admission, tokens=None)
        assert shown(called)[-1]["error"] == "upstream_overloaded"
    assert governor.circuit("route") == "open"


async def test_a_failure_that_looks_like_a_reply_is_not_billed() -> None:
    called = bench(json.dumps({"broke": "the line is down"}).encode(), stream=False)
    with pytest.raises(UpstreamFailed, match="the line is down"):
        await run(called)
    assert called.ledger.settled == []


async def test_a_stream_that_breaks_off_is_not_billed() -> None:
    called = bench(*WHOLE[:2])
    await run(called)
    assert shown(called)[-1]["error"] == "upstream_error"
    assert called.ledger.settled == []


async def test_a_route_that_fails_is_followed_by_one_of_another_dialect() -> None:
    routes = route_of("openai-chat", key="a"), route_of(TELEGRAPH, key="b")
    called = Bench(*routes, replies=[Upstream([b"{}"], status=500), Upstream(WHOLE)], temperature=0.5)
    running = await run(called)
    assert [sent.url.rpartition("/v1/")[2] for sent in called.wires.sent] == ["chat/completions", "theirs/tape"]
    assert running.record.adapted == "temperature: left out"


async def test_a_route_that_cannot_say_it_is_passed_over() -> None:
    routes = route_of("openai-chat", key="a"), route_of(TELEGRAPH, key="b"), route_of("openai-chat", key="c")
    replies = [Upstream([b"{}"], status=500), Upstream([b"{}"], status=500)]
    called = Bench(*routes, replies=replies, stop=["END"])
    with pytest.raises(UpstreamFailed, match="failed to serve"):
        await run(called)
    assert len(called.wires.sent) == 2
    assert called.ledger.settled == []


async def test_a_reply_that_cannot_be_told_is_not_billed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours costs the caller nothing."""

    def fail(*_: Any, **__: Any) -> bytes:
        raise KeyError("a bug")

    monkeypatch.setattr(ChatCaller, "write_answer", fail)
    called = bench(json.dumps({"said": "Twelve dogs", "in": 100, "out": 10}).encode(), stream=False)
    with pytest.raises(KeyError):
        await run(called)
    assert called.ledger.settled == []
    assert [released.record.status for released in called.ledger.released if released.record] == ["failed"]


async def test_a_stream_whose_end_cannot_be_told_is_not_billed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> bytes:
        raise KeyError("a bug")

    monkeypatch.setattr(ChatWriter, "finish", fail)
    called = bench(*WHOLE)
    running = await run(called)
    assert shown(called)[-1]["error"] == "internal_error"
    assert called.ledger.settled == []
    assert running.record.status == "failed"
