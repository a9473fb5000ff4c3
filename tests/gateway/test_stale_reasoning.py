"""Reasoning that another account sealed, or too long ago, costs a second attempt and not the call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apps.core import headers
from apps.dialects.protocol import OPENAI_CHAT, OPENAI_RESPONSES
from apps.gateway.pipeline import answer
from apps.governor.rules import CIRCUIT_LEAST_CALLS
from apps.governor.store.memory import MemoryGovernor
from apps.upstreams.rules import UpstreamFailed
from tests.gateway.rig import Bench, Upstream, route_of

STALE = json.dumps(
    {
        "error": {
            "message": "The encrypted content gAAA could not be verified.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_encrypted_content",
        }
    }
).encode()
REPLY = json.dumps(
    {
        "id": "resp_1",
        "status": "completed",
        "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes."}]}],
        "usage": {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110},
    }
).encode()
SEALED = {"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "format": "openai-responses-v1", "index": 0}
HISTORY: list[dict[str, Any]] = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello.", "reasoning_details": [SEALED]},
    {"role": "user", "content": "Again?"},
]


def bench(*replies: Upstream, **fields: Any) -> Bench:
    return Bench(route_of(OPENAI_RESPONSES), replies=replies, **{"stream": False, "messages": HISTORY, **fields})


async def run(called: Bench) -> None:
    await answer(await called.running(), called.caller.receive, called.caller.send, called.stores)


def kinds(called: Bench, attempt: int) -> list[str]:
    return [item["type"] for item in json.loads(called.wires.sent[attempt].body)["input"]]


async def test_stale_encrypted_reasoning_is_left_out_of_a_second_attempt() -> None:
    called = bench(Upstream([STALE], status=400), Upstream([REPLY]))
    await run(called)
    assert kinds(called, 0) == ["message", "reasoning", "message", "message"]
    assert kinds(called, 1) == ["message", "message", "message"]
    assert json.loads(called.caller.body)["choices"][0]["message"]["content"] == "Yes."
    assert len(called.ledger.settled) == 1
    named = dict(called.caller.sent[0]["headers"])[headers.ADAPTED]
    assert b"reasoning of earlier answers: left out" in named


async def test_it_is_tried_once_more_and_no_oftener() -> None:
    called = bench(Upstream([STALE], status=400), Upstream([STALE], status=400))
    with pytest.raises(UpstreamFailed) as failed:
        await run(called)
    assert (failed.value.code, len(called.wires.sent)) == ("invalid_request", 2)
    assert called.ledger.settled == []


async def test_without_any_reasoning_there_is_nothing_to_leave_out() -> None:
    called = bench(Upstream([STALE], status=400), messages=[{"role": "user", "content": "Hi"}])
    with pytest.raises(UpstreamFailed):
        await run(called)
    assert len(called.wires.sent) == 1


async def test_a_request_that_was_refused_says_nothing_against_the_upstream() -> None:
    governor = MemoryGovernor()
    for _ in range(CIRCUIT_LEAST_CALLS):
        called = bench(*(Upstream([STALE], status=400) for _ in range(2)), governor=governor)
        running = await called.running()
        with pytest.raises(UpstreamFailed):
            await answer(running, called.caller.receive, called.caller.send, called.stores)
        governor.finish(running.admission, tokens=None)
    assert governor.circuit("route") == "closed"


async def test_chat_that_passes_through_is_tried_again_without_its_details() -> None:
    reply = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}]}
    replies = [Upstream([STALE], status=400), Upstream([json.dumps(reply).encode()])]
    called = Bench(route_of(OPENAI_CHAT), replies=replies, stream=False, messages=HISTORY)
    await run(called)
    first, second = (json.loads(sent.body)["messages"] for sent in called.wires.sent)
    assert first == HISTORY
    assert second == [HISTORY[0], {"role": "assistant", "content": "Hello."}, HISTORY[2]]
