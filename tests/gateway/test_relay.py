"""One stream from the upstream's head to the caller's last byte: every way it can end, and what it costs then."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import cast
from unittest.mock import AsyncMock

import pytest

from apps.core import tokenizer
from apps.core.errors import GatewayError
from apps.dialects.openai_chat.stream import ChatRelay
from apps.gateway import respond, watch
from apps.gateway.forward import Forwarded
from apps.gateway.guard import CallerLeft
from apps.gateway.journey import Journey
from apps.gateway.pipeline import answer
from apps.gateway.relay import MAX_DRAINS, stream
from apps.ledger.committer import LedgerUnavailable
from apps.upstreams.rules import UpstreamFailed
from apps.upstreams.transport.protocol import UpstreamBroken, UpstreamTimeout
from tests.gateway.rig import DONE, Bench, Upstream, billing, chunk, route_of, usage_chunk

WHOLE = [chunk("Twelve "), chunk("dogs"), chunk(finish=True), usage_chunk(100, 10), DONE]


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines in hundredths of seconds."""
    monkeypatch.setattr(watch, "TICK_S", 0.01)
    monkeypatch.setattr(watch, "PING_S", 0.03)
    monkeypatch.setattr(watch, "DRAIN_S", 0.05)
    monkeypatch.setattr(respond, "READER_STUCK_S", 0.05)


async def run(bench: Bench, *steps: bytes | float | Exception) -> int:
    """The call of a stream whose upstream answers with these steps."""
    journey = cast(Journey, Answered(bench.forwarded(*steps)))
    return await stream(await bench.running(), journey, bench.caller.receive, bench.caller.send, bench.stores)


class Answered:
    """A journey with one upstream, which answers at once."""

    def __init__(self, forwarded: Forwarded) -> None:
        self.next = AsyncMock(return_value=forwarded)

    def lost(self, forwarded: Forwarded, failure: UpstreamFailed) -> None:
        raise failure


async def test_a_whole_stream_is_settled_before_its_end_is_sent() -> None:
    bench = Bench()
    assert await run(bench, *WHOLE) == 110
    (settled,) = bench.ledger.settled
    assert (settled.charge_micro, settled.record.status, settled.record.is_estimated) == (120, "succeeded", False)
    assert billing(bench.caller.body)["credits_charged"] * 1_000_000 == 120
    assert bench.caller.has_whole_reply
    assert bench.ledger.released == []


async def test_the_end_waits_for_the_bill() -> None:
    bench = Bench()
    bench.ledger.pause_s = 0.1
    task = asyncio.create_task(run(bench, *WHOLE))
    await asyncio.sleep(0.05)
    assert b"dogs" in bench.caller.body
    assert b'"stop"' not in bench.caller.body
    await task
    assert b'"stop"' in bench.caller.body


@pytest.mark.usefixtures("hurry")
async def test_a_caller_hears_of_us_while_the_upstream_thinks() -> None:
    bench = Bench()
    await run(bench, 0.12, *WHOLE)
    comments = [part for part in bench.caller.sent[1:] if part["body"].startswith(b":")]
    assert 1 <= len(comments) <= 4
    assert bench.caller.status == 200
    assert bench.caller.has_whole_reply


@pytest.mark.usefixtures("hurry")
async def test_a_stream_that_flows_needs_no_keep_alive() -> None:
    bench = Bench()
    await run(bench, *(step for word in "abcdefgh" for step in (chunk(word), 0.01)), *WHOLE[2:])
    assert not [part for part in bench.caller.sent[1:] if part["body"].startswith(b":")]


@pytest.mark.usefixtures("hurry")
async def test_a_stuck_reader_has_abandoned_its_call() -> None:
    bench = Bench(takes_parts=1)
    await asyncio.wait_for(run(bench, chunk("x" * 400), chunk("y"), 5.0), timeout=2)
    (settled,) = bench.ledger.settled
    assert (settled.record.status, settled.record.is_estimated) == ("abandoned", True)
    assert settled.record.output_tokens == tokenizer.count(["x" * 400 + "y"])
    assert not bench.caller.has_whole_reply


@pytest.mark.usefixtures("hurry")
async def test_a_reader_that_is_stuck_at_the_end_is_billed_and_let_go() -> None:
    bench = Bench(takes_parts=2)
    with pytest.raises(CallerLeft):
        await asyncio.wait_for(run(bench, *WHOLE), timeout=2)
    assert [settled.charge_micro for settled in bench.ledger.settled] == [120]


@pytest.mark.usefixtures("hurry")
async def test_a_caller_that_left_is_read_on_for_a_while() -> None:
    bench = Bench()
    bench.caller.left.set()
    assert await run(bench, chunk("a"), 0.02, *WHOLE[1:]) == 110
    (settled,) = bench.ledger.settled
    assert (settled.record.status, settled.record.is_estimated, settled.charge_micro) == ("abandoned", False, 120)
    assert bench.stores.draining == 0


@pytest.mark.usefixtures("hurry")
async def test_a_caller_that_left_is_not_read_on_for_ever() -> None:
    bench = Bench()
    bench.caller.left.set()
    await asyncio.wait_for(run(bench, chunk("Twelve dogs "), chunk("and a cat"), 30.0), timeout=2)
    (settled,) = bench.ledger.settled
    assert (settled.record.status, settled.record.is_estimated, settled.record.output_tokens) == ("abandoned", True, 6)


async def test_only_so_many_streams_are_read_on() -> None:
    bench = Bench()
    bench.stores.draining = MAX_DRAINS
    bench.caller.left.set()
    await run(bench, chunk("x" * 40), 0.01, *WHOLE)
    (settled,) = bench.ledger.settled
    assert (settled.record.status, settled.record.is_estimated) == ("abandoned", True)
    assert bench.stores.draining == MAX_DRAINS


async def test_a_break_before_the_first_byte_is_a_plain_error() -> None:
    bench = Bench()
    with pytest.raises(UpstreamFailed) as failed:
        await run(bench, UpstreamBroken("gone"))
    assert failed.value.code == "upstream_error"
    assert bench.caller.sent == []


async def test_what_came_with_an_error_but_before_it_reaches_the_caller() -> None:
    error = b'data: {"error": {"message": "Bang", "code": 500}}\n\n'
    bench = Bench()
    await run(bench, chunk("Twelve "), chunk("dogs") + error)
    assert b"dogs" in bench.caller.body
    assert bench.caller.body.index(b"dogs") < bench.caller.body.index(b'"upstream_error"')
    assert bench.ledger.settled == []
    bench = Bench()
    with pytest.raises(UpstreamFailed, match="Bang"):
        await run(bench, chunk("Twelve ") + error)
    assert bench.caller.sent == []


async def test_a_break_later_is_an_error_event_and_free() -> None:
    bench = Bench()
    assert await run(bench, chunk("a"), UpstreamBroken("gone")) == 0
    assert (bench.caller.status, bench.caller.has_whole_reply) == (200, True)
    assert b'"upstream_error"' in bench.caller.body
    (released,) = bench.ledger.released
    assert released.record is not None
    assert (released.record.status, released.record.charge_micro) == ("failed", 0)
    assert bench.ledger.settled == []


async def test_a_bug_of_ours_still_ends_the_stream_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = ChatRelay.feed

    def stumble(self: ChatRelay, data: bytes) -> bytes:
        if b"dogs" in data:
            raise KeyError("dogs")
        return feed(self, data)

    monkeypatch.setattr(ChatRelay, "feed", stumble)
    bench = Bench()
    assert await run(bench, *WHOLE) == 0
    assert b'"upstream_error"' in bench.caller.body
    assert (bench.caller.has_whole_reply, len(bench.ledger.released)) == (True, 1)


async def test_a_stream_that_cannot_be_billed_fails() -> None:
    bench = Bench()
    bench.ledger.failure = LedgerUnavailable()
    assert await run(bench, *WHOLE) == 0
    assert b'"store_unavailable"' in bench.caller.body
    assert b'"stop"' not in bench.caller.body
    assert len(bench.ledger.released) == 1


async def test_a_call_that_is_stopped_while_it_is_billed_stays_billed(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.ledger.pause_s = 0.2
    running = await bench.running()

    monkeypatch.setattr(Journey, "next", AsyncMock(return_value=bench.forwarded(*WHOLE)))
    task = asyncio.create_task(answer(running, bench.caller.receive, bench.caller.send, bench.stores))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (running.is_settled, running.record.status) == (True, "succeeded")
    assert bench.ledger.released == []


async def test_a_stream_that_is_stopped_ends_with_an_error_event_and_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    running = await bench.running()

    monkeypatch.setattr(Journey, "next", AsyncMock(return_value=bench.forwarded(chunk("a"), 30.0)))
    task = asyncio.create_task(answer(running, bench.caller.receive, bench.caller.send, bench.stores))
    await asyncio.sleep(0.05)
    task.cancel()
    assert await task == 0
    assert b'"internal_error"' in bench.caller.body
    assert bench.caller.has_whole_reply
    (released,) = bench.ledger.released
    assert released.record is not None
    assert (released.record.status, released.record.error_code) == ("failed", "internal_error")
    assert bench.ledger.settled == []


async def test_a_stream_that_is_stopped_before_its_first_byte_is_a_plain_error() -> None:
    bench = Bench()
    task = asyncio.create_task(run(bench, 30.0))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(GatewayError) as stopped:
        await task
    assert (stopped.value.status, bench.caller.sent) == (500, [])


@pytest.mark.usefixtures("hurry")
async def test_a_caller_hears_of_us_while_its_bill_waits() -> None:
    bench = Bench()
    bench.ledger.pause_s = 0.15
    await run(bench, *WHOLE)
    comments = [part for part in bench.caller.sent[1:] if part["body"].startswith(b":")]
    assert 2 <= len(comments) <= 5
    assert bench.caller.sent[-1]["body"].endswith(DONE)
    assert billing(bench.caller.body)["credits_charged"] * 1_000_000 == 120


@pytest.mark.usefixtures("hurry")
async def test_a_caller_that_left_gets_no_keep_alives_while_it_is_billed() -> None:
    bench = Bench()
    bench.ledger.pause_s = 0.15
    bench.caller.left.set()
    await run(bench, chunk("a"), 0.02, *WHOLE[1:])
    assert not [part for part in bench.caller.sent[1:] if part["body"].startswith(b":")]
    assert len(bench.ledger.settled) == 1


async def test_a_bill_that_waits_for_the_store_is_shown_as_pending() -> None:
    bench = Bench()
    bench.ledger.is_away = True
    assert await run(bench, *WHOLE) == 110
    assert billing(bench.caller.body) == {
        "model": "gpt-5-5",
        "credits_charged": Decimal("0.00012"),
        "balance_before": None,
        "balance_after": None,
        "settlement": "pending",
    }
    assert bench.ledger.released == []


async def call(bench: Bench, *, until_s: float = 2.0) -> int:
    """The whole of a call, from the first route that is asked."""
    running = await bench.running()
    return await asyncio.wait_for(answer(running, bench.caller.receive, bench.caller.send, bench.stores), until_s)


def pings(bench: Bench) -> list[bytes]:
    return [part["body"] for part in bench.caller.sent[1:] if part["body"].startswith(b":")]


@pytest.mark.usefixtures("hurry")
async def test_a_caller_hears_of_us_before_any_upstream_answers() -> None:
    bench = Bench(replies=[0.12, Upstream(WHOLE)])
    assert await call(bench) == 110
    assert 1 <= len(pings(bench)) <= 4
    assert bench.caller.status == 200
    assert bench.caller.body.index(b":") < bench.caller.body.index(b"Twelve")
    (settled,) = bench.ledger.settled
    assert settled.record.first_byte_ms is not None
    assert settled.record.first_byte_ms >= 120


@pytest.mark.usefixtures("hurry")
async def test_an_upstream_that_fails_after_a_keep_alive_is_an_error_event_and_free() -> None:
    bench = Bench(replies=[0.08, UpstreamTimeout("silent")])
    assert await call(bench) == 0
    assert len(pings(bench)) >= 1
    assert (bench.caller.status, bench.caller.has_whole_reply) == (200, True)
    assert b'"upstream_timeout"' in bench.caller.body
    assert bench.ledger.settled == []
    (released,) = bench.ledger.released
    assert released.record is not None
    assert (released.record.status, released.record.error_code) == ("failed", "upstream_timeout")


@pytest.mark.usefixtures("hurry")
async def test_another_route_may_still_answer_after_a_keep_alive() -> None:
    routes = [route_of("openai-chat", key=key) for key in "ab"]
    bench = Bench(*routes, replies=[0.08, UpstreamTimeout("silent"), Upstream([0.08, UpstreamBroken("cut")])])
    assert await call(bench) == 0
    assert b'"upstream_error"' in bench.caller.body
    bench = Bench(*routes, replies=[0.08, UpstreamTimeout("silent"), Upstream([0.08, *WHOLE])])
    assert await call(bench) == 110
    assert len([message for message in bench.caller.sent if message["type"] == "http.response.start"]) == 1
    assert bench.caller.body.endswith(DONE)
    assert len(bench.ledger.settled) == 1


@pytest.mark.usefixtures("hurry")
async def test_a_stream_that_is_stopped_after_a_keep_alive_ends_with_an_error_event() -> None:
    bench = Bench(replies=[30.0])
    task = asyncio.create_task(call(bench, until_s=5))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert b'"internal_error"' in bench.caller.body
    assert bench.caller.has_whole_reply
    assert (len(bench.ledger.released), bench.ledger.settled) == (1, [])


@pytest.mark.usefixtures("hurry")
async def test_total_time_that_ends_before_a_word_is_a_failure_however_often_we_were_heard_of() -> None:
    route = replace(route_of("openai-chat"), total_timeout_s=0.1)
    bench = Bench(route, replies=[Upstream([30.0])])
    assert await call(bench) == 0
    assert len(pings(bench)) >= 1
    assert b'"upstream_timeout"' in bench.caller.body
    assert bench.ledger.settled == []
