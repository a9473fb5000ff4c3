"""Streams arrive as they are made, end with their bill, and are what official SDKs expect."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import anthropic
import openai
import pydantic
import pytest

from tests.flows.bills import bill, bill_of_reply
from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import (
    CHAT,
    ENDPOINTS,
    IMAGES,
    MESSAGES,
    RESPONSES,
    TEXT_ENDPOINTS,
    Endpoint,
    Tokens,
    frame,
)
from tests.flows.rig import Person, events_of
from tests.flows.upstream import served, streamed

LONG = "[[simulate chunks=200 chunk-ms=5]] Tell me a story."
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def text_of(endpoint: Endpoint, event: Any) -> str:
    """The text that one event adds."""
    if event == "[DONE]":
        return ""
    if endpoint is CHAT:
        return str(event["choices"][0]["delta"].get("content") or "") if event["choices"] else ""
    if endpoint is RESPONSES:
        return str(event["delta"]) if event["type"] == "response.output_text.delta" else ""
    return str(event["delta"].get("text", "")) if event["type"] == "content_block_delta" else ""


def billing_of(endpoint: Endpoint, events: list[Any]) -> Any:
    """The bill, from the one place where this dialect has it."""
    named = [event for event in events if isinstance(event, dict)]
    if endpoint is RESPONSES:
        holders = [event["response"] for event in named if event["type"] == "response.completed"]
    elif endpoint is MESSAGES:
        holders = [event for event in named if event["type"] == "message_delta"]
    elif endpoint is IMAGES:
        holders = [event for event in named if event["type"] == "image_generation.completed"]
    else:
        holders = [event for event in named if "hypereal" in event]
    (holder,) = holders
    return holder["hypereal"]["billing"]


@pytest.mark.parametrize("endpoint", TEXT_ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_two_hundred_chunks_arrive_one_by_one(alice: Person, endpoint: Endpoint) -> None:
    body = endpoint.body(LONG, stream=True, **endpoint.at_most(5_000))
    began = time.monotonic()
    first_at, arrivals, received = 0.0, 0, b""
    with alice.stream(endpoint.path, body) as reply:
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        for part in reply.iter_raw():
            first_at = first_at or time.monotonic() - began
            arrivals += 1
            received += part
    ended_at = time.monotonic() - began
    assert first_at < ended_at / 3
    assert arrivals > 100
    events = events_of(received)
    assert len([event for event in events if text_of(endpoint, event)]) == 200
    cost = billing_of(endpoint, events)["credits_charged"]
    assert alice.balance == 1_000 - cost
    record = alice.newest_record()
    assert (record["status"], record["stream"], record["credits_charged"]) == ("succeeded", True, cost)
    assert record["first_byte_ms"] < record["latency_ms"] / 3


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_a_stream_is_billed_once_where_its_dialect_says(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint
) -> None:
    tokens = Tokens(input=1_234, output=567)
    script = add_upstream(endpoint, served(endpoint, tokens))
    reply = alice.call(endpoint.path, endpoint.body(stream=True))
    assert reply.status == 200
    cost = bill(endpoint.model, input=1_234, output=567)
    assert billing_of(endpoint, reply.events) == {
        "model": endpoint.model,
        "credits_charged": cost,
        "balance_before": 1_000,
        "balance_after": 1_000 - cost,
    }
    assert reply.body.count(b'"hypereal"') == 1
    assert b"theirs" not in reply.body
    assert (alice.balance, alice.held, len(alice.records()), len(script.calls)) == (1_000 - cost, 0, 1, 1)


def test_the_usage_chunk_comes_only_where_it_was_asked_for(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(CHAT, served(CHAT))
    unasked = alice.call(CHAT.path, CHAT.body(stream=True)).events
    assert unasked[-1] == "[DONE]"
    assert all(len(chunk["choices"]) == 1 and "usage" not in chunk for chunk in unasked[:-1])
    assert unasked[-2]["choices"][0]["finish_reason"] == "stop"
    assert "billing" in unasked[-2]["hypereal"]
    asked = alice.call(CHAT.path, CHAT.body(stream=True, stream_options={"include_usage": True})).events
    assert (asked[-2]["choices"], asked[-2]["usage"]["completion_tokens"]) == ([], 300)
    assert "billing" in asked[-2]["hypereal"]
    assert "hypereal" not in asked[-3]
    assert [call.json["stream_options"] for call in script.calls] == [{"include_usage": True}] * 2


def test_a_chat_stream_without_done_is_complete_once_it_finished(alice: Person, add_upstream: AddUpstream) -> None:
    events = CHAT.events(Tokens(input=100, output=10))
    add_upstream(CHAT, streamed(events[:-1]))
    reply = alice.call(CHAT.path, CHAT.body(stream=True))
    assert reply.events[-1] == "[DONE]"
    assert billing_of(CHAT, reply.events)["credits_charged"] == bill(CHAT.model, input=100, output=10)


def test_a_stream_without_usage_is_estimated_and_says_so(alice: Person, add_upstream: AddUpstream) -> None:
    text = "x" * 400
    add_upstream(CHAT, streamed([event for event in CHAT.events(text=text) if b'"usage"' not in event]))
    reply = alice.call(CHAT.path, CHAT.body(stream=True, stream_options={"include_usage": True}))
    billing = billing_of(CHAT, reply.events)
    assert billing["estimated"] is True
    shown = reply.events[-2]["usage"]
    assert (shown["prompt_tokens"], shown["completion_tokens"]) == (3, 50)
    assert billing["credits_charged"] == bill_of_reply(CHAT.model, shown) > 0
    assert alice.newest_record()["estimated"] is True


def test_comments_and_odd_line_ends_travel_safely(alice: Person, add_upstream: AddUpstream) -> None:
    events = [b": OPENROUTER PROCESSING\n\n", *CHAT.events(Tokens(input=100, output=10))]
    whole = b"".join(events).replace(b"\n", b"\r\n")
    add_upstream(CHAT, streamed([whole[at : at + 7] for at in range(0, len(whole), 7)]))
    reply = alice.call(CHAT.path, CHAT.body(stream=True))
    assert "".join(text_of(CHAT, event) for event in reply.events) == "Twelve dogs ran."
    assert billing_of(CHAT, reply.events)["credits_charged"] == bill(CHAT.model, input=100, output=10)


@pytest.mark.parametrize("endpoint", TEXT_ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_a_stream_past_its_total_time_ends_cut_short_and_billed(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint
) -> None:
    events = endpoint.events(text="x" * 800, parts=1)
    shown = next(index for index, event in enumerate(events) if b"xxx" in event) + 1
    script = add_upstream(endpoint, streamed([*events[:shown], 20.0]), total_timeout_ms=1_500)
    reply = alice.call(endpoint.path, endpoint.body(stream=True))
    record = alice.newest_record()
    assert (record["status"], record["estimated"], record["usage"]["output"]) == ("succeeded", True, 100)
    ended = b'"length"' if endpoint is CHAT else b'"max_output_tokens"' if endpoint is RESPONSES else b'"max_tokens"'
    assert ended in reply.body
    assert b'"estimated":true' in reply.body
    assert alice.balance == 1_000 - record["credits_charged"] < 1_000
    assert alice.held == 0
    assert script.completed == 0


def test_openais_chat_stream_helper_reads_it(alice: Person) -> None:
    with (
        alice.openai() as client,
        client.chat.completions.stream(
            model="gpt-5-5",
            messages=[{"role": "user", "content": "Hello!"}],
            stream_options={"include_usage": True},
        ) as stream,
    ):
        text = "".join(event.delta for event in stream if event.type == "content.delta")
        whole = stream.get_final_completion()
    assert "Hello!" in text
    assert whole.choices[0].message.content == text
    assert whole.usage is not None
    assert whole.usage.completion_tokens > 0


def test_openais_responses_stream_helper_reads_it(alice: Person) -> None:
    with alice.openai() as client, client.responses.stream(model="gpt-5-5", input="Hello!") as stream:
        numbers = [event.sequence_number for event in stream]
        whole = stream.get_final_response()
    assert "Hello!" in whole.output_text
    assert numbers == sorted(set(numbers))
    assert whole.model_extra is not None
    assert Decimal(str(whole.model_extra["hypereal"]["billing"]["balance_after"])) == alice.balance


def test_anthropics_stream_helper_reads_it(alice: Person) -> None:
    with (
        alice.anthropic() as client,
        client.messages.stream(
            model="claude-haiku-latest", max_tokens=300, messages=[{"role": "user", "content": "Hello!"}]
        ) as stream,
    ):
        text = "".join(stream.text_stream)
        whole = stream.get_final_message()
    assert "Hello!" in text
    assert (whole.model, whole.stop_reason) == ("claude-haiku-latest", "end_turn")
    assert whole.usage.output_tokens > 0


def test_tools_are_streamed_in_every_dialect(alice: Person) -> None:
    ask = "Call the tool weather for Paris, please."
    with alice.openai() as client:
        with client.chat.completions.stream(
            model="gpt-5-5",
            messages=[{"role": "user", "content": ask}],
            tools=[{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}],
            tool_choice="required",
        ) as stream:
            (call,) = stream.get_final_completion().choices[0].message.tool_calls or []
        assert call.type == "function"
        assert (call.function.name, "city" in call.function.arguments) == ("weather", True)
        with client.responses.stream(
            model="gpt-5-5",
            input=ask,
            tools=[{"type": "function", "name": "weather", "parameters": WEATHER, "strict": True}],
            tool_choice="required",
        ) as answer:
            calls = [item for item in answer.get_final_response().output if item.type == "function_call"]
        assert [item.name for item in calls] == ["weather"]
    with (
        alice.anthropic() as claude,
        claude.messages.stream(
            model="claude-haiku-latest",
            max_tokens=300,
            messages=[{"role": "user", "content": ask}],
            tools=[{"name": "weather", "input_schema": WEATHER}],
            tool_choice={"type": "any"},
        ) as said,
    ):
        whole = said.get_final_message()
    used = [block for block in whole.content if isinstance(block, anthropic.types.ToolUseBlock)]
    assert [(block.name, list(block.input)) for block in used] == [("weather", ["city"])]
    assert len({record["endpoint"] for record in alice.records()}) == 3


class City(pydantic.BaseModel):
    name: str
    inhabitants: int


def test_structured_output_parses(alice: Person) -> None:
    with alice.openai() as client:
        said = client.chat.completions.parse(
            model="gpt-5-5", messages=[{"role": "user", "content": "Paris?"}], response_format=City
        )
        assert isinstance(said.choices[0].message.parsed, City)
        answered = client.responses.parse(model="gpt-5-5", input="Paris?", text_format=City)
        assert isinstance(answered.output_parsed, City)


def test_images_stream(alice: Person) -> None:
    with alice.openai() as client:
        stream = client.images.generate(
            model="gpt-image-2", prompt="A cat", quality="low", stream=True, partial_images=2
        )
        events = list(stream)
    assert [event.type for event in events] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    last = events[-1]
    assert isinstance(last, openai.types.ImageGenCompletedEvent)
    assert last.model_extra is not None
    assert Decimal(str(last.model_extra["hypereal"]["billing"]["balance_after"])) == alice.balance


def test_thinking_and_unknown_events_pass_through(alice: Person, add_upstream: AddUpstream) -> None:
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}}
    delta = {"type": "signature_delta", "signature": "EqQBCkYIBRgCKkA="}
    signature = {"type": "content_block_delta", "index": 0, "delta": delta}
    stop = {"type": "content_block_stop", "index": 0}
    opened, *_, message_delta, message_stop = MESSAGES.events()
    novel = frame({"type": "novelty", "x": [1, 2]}, name="novelty")
    middle = [frame(event, name=str(event["type"])) for event in (block, signature, stop)]
    add_upstream(MESSAGES, streamed([opened, *middle, novel, message_delta, message_stop]))
    reply = alice.call(MESSAGES.path, MESSAGES.body(stream=True))
    for event in (*middle, novel):
        assert event in reply.body
