"""What callers are told of their insurance, to the byte, and what makes it pay: a clock that the test moves."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.catalog.pricing import Price
from apps.core import clock
from apps.core.tokens import TokenUsage
from apps.dialects.passage import PassThrough
from apps.gateway import insuring
from apps.gateway.forward import Forwarded
from apps.gateway.pipeline import reply_whole
from apps.gateway.relay import relay
from apps.gateway.running import Running
from apps.gateway.sender import Sender
from apps.ledger.idempotency import PastCall
from tests.gateway.rig import CHAT, DONE, MODEL, Bench, Caller, Upstream, chunk, usage_chunk

PRICE = Price(uuid.UUID(int=3), input=300_000_000, output=1_500_000_000)
"""30,000 tokens in and 2,000 out are 12 credits."""
DOCUMENT = {
    "status": "paid",
    "trigger": "latency",
    "reason": "latency_threshold_exceeded",
    "latency_ms": 94_320,
    "threshold_ms": 90_000,
    "credits_charged": 12,
    "credits_compensated": 3,
}


class Tape:
    """The monotonic clock, standing still until the test moves it."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def monotonic(self) -> float:
        return self.at

    def advance(self, seconds: float) -> Callable[[], None]:
        def move() -> None:
            self.at += seconds

        return move


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> Tape:
    tape = Tape()
    monkeypatch.setattr(clock, "monotonic", tape.monotonic)
    return tape


class Scripted(Upstream):
    """Bytes, and things to do in between."""

    def __init__(self, *script: bytes | Callable[[], None]) -> None:
        super().__init__(())
        self._script = script

    async def chunks(self) -> AsyncIterator[bytes]:
        for step in self._script:
            if isinstance(step, bytes):
                yield step
            else:
                step()
                await asyncio.sleep(0.001)  # others see what came of it


def plain_reply(prompt: int = 30_000, completion: int = 2_000) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Twelve dogs."}, "finish_reason": "stop"}
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return json.dumps({"id": "x", "choices": [choice], "usage": usage}).encode()


def stream(*between: Callable[[], None], prompt: int = 39_500, completion: int = 100) -> list[Any]:
    return [chunk("Twelve "), *between, chunk("dogs"), chunk(finish=True), usage_chunk(prompt, completion), DONE]


def forwarded_with(bench: Bench, *script: bytes | Callable[[], None]) -> Forwarded:
    now = clock.monotonic()
    return Forwarded(bench.route, PassThrough(CHAT, bench.request), Scripted(*script), now, now + 600)


async def paid_call(bench: Bench) -> Running:
    running = await bench.running()
    running.permit = replace(running.permit, price=PRICE)
    return running


async def plain(bench: Bench, *script: bytes | Callable[[], None], running: Running | None = None) -> Any:
    """The reply's `hypereal` object."""
    forwarded = forwarded_with(bench, *script)
    await reply_whole(running or await paid_call(bench), forwarded, bench.caller.send, bench.stores)
    return json.loads(bench.caller.body)["hypereal"]


async def streamed(bench: Bench, *script: bytes | Callable[[], None], caller: Caller | None = None) -> None:
    caller = caller or bench.caller
    await relayed(bench, await paid_call(bench), forwarded_with(bench, *script), caller)


async def relayed(bench: Bench, running: Running, forwarded: Forwarded, caller: Caller) -> None:
    sender = Sender(running, caller.send, bench.stores)
    try:
        await relay(running, forwarded, caller.receive, sender, bench.stores)
    finally:
        sender.close()


def insurance_headers(caller: Caller) -> dict[str, str]:
    return {
        name.decode(): value.decode()
        for name, value in caller.sent[0]["headers"]
        if name.startswith(b"x-hypereal-insurance-")
    }


async def test_a_slow_plain_call_is_told_in_the_documents_words(tape: Tape) -> None:
    bench = Bench(stream=False)
    told = await plain(bench, tape.advance(94.3204), plain_reply())
    assert told["insurance"] == DOCUMENT
    assert list(told["insurance"]) == list(DOCUMENT)
    assert told["billing"]["balance_after"] == told["billing"]["balance_before"] - 12
    assert insurance_headers(bench.caller) == {
        "x-hypereal-insurance-status": "paid",
        "x-hypereal-insurance-trigger": "latency",
        "x-hypereal-insurance-latency-ms": "94320",
        "x-hypereal-insurance-threshold-ms": "90000",
        "x-hypereal-insurance-credits": "3",
    }
    (settled,) = bench.ledger.settled
    assert (settled.payout_percent, settled.defers_payout, settled.record.threshold_ms) == (25, False, 90_000)
    assert settled.record.insurance_version_id == uuid.UUID(int=5)
    assert bench.claims_told == 0


async def test_the_wait_in_the_queue_counts(tape: Tape) -> None:
    bench = Bench(stream=False)
    running = await paid_call(bench)
    tape.at += 60
    told = await plain(bench, tape.advance(34.3204), plain_reply(), running=running)
    assert told["insurance"] == DOCUMENT


async def test_a_call_within_its_threshold_is_told_so(tape: Tape) -> None:
    bench = Bench(stream=False)
    told = await plain(bench, tape.advance(1.5), plain_reply())
    assert told["insurance"] == {
        "status": "not_triggered",
        "latency_ms": 1_500,
        "threshold_ms": 90_000,
        "credits_charged": 12,
        "credits_compensated": 0,
    }
    assert insurance_headers(bench.caller) == {
        "x-hypereal-insurance-status": "not_triggered",
        "x-hypereal-insurance-latency-ms": "1500",
        "x-hypereal-insurance-threshold-ms": "90000",
    }
    (settled,) = bench.ledger.settled
    assert (settled.payout_percent, settled.record.claim) == (0, "not_triggered")


async def test_what_the_days_cap_keeps_back_is_told(tape: Tape) -> None:
    bench = Bench(stream=False)
    bench.ledger.payout_cap_micro = 1_000_000
    told = await plain(bench, tape.advance(94.3204), plain_reply())
    assert told["insurance"] == {**DOCUMENT, "credits_compensated": 1, "capped": True}
    bench = Bench(stream=False)
    bench.ledger.payout_cap_micro = 0
    told = await plain(bench, tape.advance(94.3204), plain_reply())
    nothing = {"status": "not_triggered", "reason": "daily_cap_reached", "credits_compensated": 0, "capped": True}
    assert told["insurance"] == DOCUMENT | nothing
    assert insurance_headers(bench.caller)["x-hypereal-insurance-status"] == "not_triggered"
    assert insurance_headers(bench.caller)["x-hypereal-insurance-credits"] == "0"


async def test_a_settlement_in_the_journal_is_told_with_what_it_will_pay(tape: Tape) -> None:
    bench = Bench(stream=False)
    bench.ledger.is_away = True
    told = await plain(bench, tape.advance(94.3204), plain_reply())
    assert (told["insurance"], told["billing"]["settlement"]) == (DOCUMENT, "pending")


async def test_a_model_without_insurance_says_nothing_of_it(tape: Tape) -> None:
    for is_stream in (False, True):
        bench = Bench(stream=is_stream)
        running = await paid_call(bench)
        running.permit = replace(running.permit, model=replace(MODEL, insurance=None))
        script = stream(tape.advance(94.3204)) if is_stream else [tape.advance(94.32), plain_reply()]
        forwarded = forwarded_with(bench, *script)
        if is_stream:
            await relayed(bench, running, forwarded, bench.caller)
        else:
            await reply_whole(running, forwarded, bench.caller.send, bench.stores)
        (settled,) = bench.ledger.settled
        assert (settled.payout_percent, settled.record.claim, settled.record.insurance_version_id) == (0, "", None)
        assert insurance_headers(bench.caller) == {}
        assert b"insurance" not in bench.caller.body


async def test_a_stream_shows_its_policy_at_once_and_leaves_its_payout_to_others(tape: Tape) -> None:
    bench = Bench()
    await streamed(bench, *stream(tape.advance(94.3204)))
    assert insurance_headers(bench.caller) == {
        "x-hypereal-insurance-status": "active",
        "x-hypereal-insurance-trigger": "latency",
        "x-hypereal-insurance-threshold-ms": "90000",
    }
    (settled,) = bench.ledger.settled
    assert (settled.charge_micro, settled.payout_percent, settled.defers_payout) == (12_000_000, 25, True)
    # 100 tokens have 2.5 s more.
    assert (settled.record.latency_ms, settled.record.threshold_ms) == (94_320, 92_500)
    assert bench.claims_told == 1
    assert b"insurance" not in bench.caller.body


async def test_a_long_answer_is_not_a_slow_one(tape: Tape) -> None:
    bench = Bench()
    await streamed(bench, *stream(tape.advance(94.3204), completion=2_000))
    (settled,) = bench.ledger.settled
    assert (settled.record.threshold_ms, settled.record.claim, settled.payout_percent) == (140_000, "not_triggered", 0)
    assert bench.claims_told == 0


class SlowReader(Caller):
    """Takes 94 seconds over what it is sent."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self._tape = tape

    async def send(self, message: Any) -> None:
        if b"dogs" in message.get("body", b""):
            self._tape.at += 94.32
        await super().send(message)


async def test_whoever_reads_slowly_is_not_paid_for_it(tape: Tape) -> None:
    bench = Bench()
    await streamed(bench, *stream(tape.advance(1.0)), caller=SlowReader(tape))
    (settled,) = bench.ledger.settled
    assert (settled.record.latency_ms, settled.record.claim, settled.payout_percent) == (1_000, "not_triggered", 0)


async def test_a_stream_that_its_caller_left_is_not_insured(tape: Tape) -> None:
    bench = Bench()
    await streamed(bench, chunk("Twelve "), bench.caller.left.set, *stream(tape.advance(94.3204))[1:])
    (settled,) = bench.ledger.settled
    assert (settled.record.status, settled.payout_percent, bench.claims_told) == ("abandoned", 0, 0)


async def test_an_estimate_is_not_insured(tape: Tape) -> None:
    bench = Bench(stream=False)
    reply = json.loads(plain_reply())
    del reply["usage"]
    told = await plain(bench, tape.advance(94.3204), json.dumps(reply).encode())
    assert (told["billing"]["estimated"], told["insurance"]["status"]) == (True, "not_triggered")


@pytest.mark.parametrize("hours", [1, -1])
async def test_the_clock_on_the_wall_pays_nothing(tape: Tape, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    def jump() -> None:
        monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + timedelta(hours=hours))

    for is_stream in (False, True):
        bench = Bench(stream=is_stream)
        if is_stream:
            await streamed(bench, *stream(jump))
        else:
            await plain(bench, jump, plain_reply())
        (settled,) = bench.ledger.settled
        assert (settled.record.latency_ms, settled.record.claim) == (0, "not_triggered")


async def test_the_time_that_the_reply_takes_to_be_read_is_ours(tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(stream=False)
    read_reply = PassThrough.read_reply

    def slowly(passage: PassThrough, body: bytes) -> Any:
        tape.at += 200
        return read_reply(passage, body)

    monkeypatch.setattr(PassThrough, "read_reply", slowly)
    assert (await plain(bench, plain_reply()))["insurance"]["latency_ms"] == 0


def past(**facts: Any) -> PastCall:
    defaults: dict[str, Any] = {
        "request_id": uuid.UUID(int=9),
        "model_id": "gpt-5-5",
        "is_stream": False,
        "received_at": datetime(2026, 11, 27, tzinfo=UTC),
        "usage": TokenUsage(),
        "is_estimated": False,
        "charge_micro": 12_000_000,
        "absorbed_micro": 0,
        "balances_micro": (20_000_000, 8_000_000),
        "reply": None,
        "latency_ms": 94_320,
        "threshold_ms": 90_000,
        "claim": "paid",
        "claim_trigger": "latency",
        "compensated_micro": 3_000_000,
    }
    return PastCall(**{**defaults, **facts})


def test_a_repeat_is_told_of_the_first_calls_insurance() -> None:
    claim = insuring.past_claim(past())
    assert json.loads(b"{" + insuring.claim_block(claim)[1:] + b"}")["insurance"] == DOCUMENT


@pytest.mark.parametrize(
    ("facts", "status", "reason", "is_capped"),
    [
        ({"claim": "not_triggered", "claim_trigger": "", "compensated_micro": 0}, "not_triggered", "", False),
        ({"claim": "capped", "compensated_micro": 0}, "not_triggered", "daily_cap_reached", True),
        ({"claim": "capped", "compensated_micro": 1}, "paid", "latency_threshold_exceeded", True),
        ({"claim": "due", "compensated_micro": 0}, "active", "", False),
    ],
)
def test_a_repeat_is_told_what_is_known_by_now(
    facts: dict[str, Any], status: str, reason: str, is_capped: bool
) -> None:
    claim = insuring.past_claim(past(**facts))
    assert claim is not None
    assert (claim.status, claim.reason, claim.is_capped) == (status, reason, is_capped)


def test_a_repeat_of_a_call_that_was_not_insured_says_nothing() -> None:
    assert insuring.past_claim(past(claim="", threshold_ms=None)) is None
