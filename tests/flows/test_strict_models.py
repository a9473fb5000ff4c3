"""A model that refuses what every client sends it: the gateway says the same in words that it takes."""

from __future__ import annotations

import json

import pytest

from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT
from tests.flows.rig import Person
from tests.flows.upstream import Answer, Received, plain, served

MODEL = "gpt-5-5"


def strict(received: Received) -> Answer:
    """As OpenAI answers for its reasoning models."""
    asked = received.json
    if "max_tokens" in asked:
        return refusal("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "max_tokens")
    if asked.get("temperature", 1) != 1:
        return refusal("Unsupported value: 'temperature' does not support 0.2. Only the default is.", "temperature")
    return served(CHAT)(received)


def refusal(message: str, param: str) -> Answer:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": "unsupported_parameter"}
    return plain(json.dumps({"error": error}).encode(), status=400)


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
def test_a_client_that_sends_max_tokens_and_a_temperature_is_served(
    alice: Person, add_upstream: AddUpstream, is_stream: bool
) -> None:
    script = add_upstream(CHAT, strict, model=MODEL)
    reply = alice.call(CHAT.path, CHAT.body(model=MODEL, max_tokens=32_000, temperature=0.2, stream=is_stream))
    assert reply.status == 200
    told = "max_tokens: sent as max_completion_tokens, temperature: left out"
    assert reply.headers["x-hypereal-adapted"] == told
    assert alice.record_of(reply.headers["x-request-id"])["adapted"] == told
    (sent,) = (call.json for call in script.calls)
    assert (sent["max_completion_tokens"], "max_tokens" in sent, "temperature" in sent) == (32_000, False, False)


def test_the_official_sdk_reads_the_answer(alice: Person, add_upstream: AddUpstream) -> None:
    add_upstream(CHAT, strict, model=MODEL)
    with alice.openai() as client:
        answer = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hi"}], max_tokens=50, temperature=0
        )
    assert answer.choices[0].finish_reason == "stop"
