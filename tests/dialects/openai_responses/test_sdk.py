"""The official SDK uses the Responses API in full, whatever the upstream speaks."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage
from pydantic import BaseModel

from apps.dialects.protocol import ANTHROPIC_MESSAGES, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES
from tests.dialects.bodies import frames, typed
from tests.dialects.openai_responses.small_gateway import Upstream

USAGE = {"input_tokens": 12, "output_tokens": 5, "total_tokens": 17}
CHAT_USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}


class City(BaseModel):
    name: str
    people: int


CITY = '{"name":"Berlin","people":3700000}'
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
ARGUMENTS = '{"city":"Berlin"}'


def response(*output: dict[str, Any], status: str = "completed", **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "model": "theirs",
        "status": status,
        "output": list(output),
        "usage": USAGE,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        **more,
    }


def message(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}


THOUGHT = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAA"}
CALL = {"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "weather", "arguments": ARGUMENTS}


def plain(spoken: str, text: str) -> Upstream:
    if spoken == OPENAI_RESPONSES:
        return Upstream(spoken, json.dumps(response(message(text))).encode())
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    replies: dict[str, dict[str, Any]] = {
        OPENAI_CHAT: {"id": "chatcmpl-1", "choices": [choice], "usage": CHAT_USAGE},
        ANTHROPIC_MESSAGES: claude({"type": "text", "text": text}),
        GEMINI: gemini({"text": text}),
    }
    return Upstream(spoken, json.dumps(replies[spoken]).encode())


def claude(*content: dict[str, Any], stop_reason: str = "end_turn") -> dict[str, Any]:
    usage = {"input_tokens": 12, "output_tokens": 5}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": list(content),
        "stop_reason": stop_reason,
        "usage": usage,
    }


def gemini(*parts: dict[str, Any], finish: str | None = "STOP") -> dict[str, Any]:
    counts = {"promptTokenCount": 12, "candidatesTokenCount": 5, "totalTokenCount": 17}
    candidate = {"index": 0, "content": {"role": "model", "parts": list(parts)}, "finishReason": finish}
    return {"candidates": [candidate], "usageMetadata": counts, "responseId": "g1"}


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}


def streamed(spoken: str, text: str) -> Upstream:
    half = len(text) // 2
    if spoken == OPENAI_CHAT:
        chunks = [
            chunk({"role": "assistant", "content": text[:half]}),
            chunk({"content": text[half:]}),
            chunk({}, "stop"),
        ]
        return Upstream(spoken, frames(*chunks, {"choices": [], "usage": CHAT_USAGE}, "[DONE]"))
    if spoken == GEMINI:
        return Upstream(spoken, frames(gemini({"text": text[:half]}, finish=None), gemini({"text": text[half:]})))
    if spoken == ANTHROPIC_MESSAGES:
        return Upstream(spoken, typed(*claude_events(text[:half], text[half:])))
    where: dict[str, Any] = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": []}
    item = message(text)
    begun = {**item, "content": [], "status": "in_progress"}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response(status="in_progress", usage=None)},
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        {"type": "response.content_part.added", **where, "part": part},
        {"type": "response.output_text.delta", **where, "delta": text[:half], "logprobs": []},
        {"type": "response.output_text.delta", **where, "delta": text[half:], "logprobs": []},
        {"type": "response.output_text.done", **where, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **where, "part": {**part, "text": text}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response(item)},
    ]
    return Upstream(spoken, typed(*({**event, "sequence_number": number} for number, event in enumerate(events))))


def claude_events(*pieces: str) -> list[dict[str, Any]]:
    begun = {**claude(), "stop_reason": None, "usage": {"input_tokens": 12, "output_tokens": 1}}
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}} for piece in pieces
    ]
    return [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]


any_upstream = pytest.mark.parametrize("spoken", [OPENAI_RESPONSES, OPENAI_CHAT, ANTHROPIC_MESSAGES, GEMINI])


@any_upstream
def test_create(spoken: str) -> None:
    upstream = plain(spoken, "Hello!")
    with upstream.client() as client:
        reply = client.responses.create(
            model="gpt-5-5",
            instructions="Be kind.",
            input="Hi",
            store=False,
            include=["reasoning.encrypted_content"],
            reasoning={"effort": "low"},
            max_output_tokens=300,
        )
    assert (reply.output_text, reply.status, reply.model) == ("Hello!", "completed", "gpt-5-5")
    assert reply.usage is not None
    assert reply.usage.total_tokens == 17
    assert reply.model_extra is not None
    assert reply.model_extra["hypereal"] == {"billing": {"credits_charged": 12}}
    if spoken == OPENAI_RESPONSES:
        assert (upstream.asked[0]["store"], upstream.asked[0]["include"]) == (False, ["reasoning.encrypted_content"])


@any_upstream
def test_stream(spoken: str) -> None:
    with streamed(spoken, "Hello!").client() as client, client.responses.stream(model="gpt-5-5", input="Hi") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert ("".join(event.delta for event in deltas), deltas[-1].snapshot) == ("Hello!", "Hello!")
    assert (final.output_text, final.status) == ("Hello!", "completed")
    assert final.usage is not None
    assert (final.usage.input_tokens, final.usage.output_tokens) == (12, 5)
    assert final.model_extra is not None
    assert final.model_extra["hypereal"] == {"billing": {"credits_charged": 12}}


@any_upstream
def test_plain_events_of_create_with_stream(spoken: str) -> None:
    with streamed(spoken, "Hello!").client() as client:
        kinds = [event.type for event in client.responses.create(model="gpt-5-5", input="Hi", stream=True)]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


@any_upstream
def test_structured_output_is_parsed(spoken: str) -> None:
    upstream = plain(spoken, CITY)
    with upstream.client() as client:
        reply = client.responses.parse(model="gpt-5-5", input="Berlin?", text_format=City)
    assert reply.output_parsed == City(name="Berlin", people=3_700_000)
    asked = upstream.asked[0]
    if spoken == OPENAI_RESPONSES:
        assert (asked["text"]["format"]["name"], asked["text"]["format"]["strict"]) == ("City", True)
    assert '"required": ["name", "people"]' in json.dumps(asked)


@any_upstream
def test_structured_output_is_parsed_as_it_streams(spoken: str) -> None:
    with (
        streamed(spoken, CITY).client() as client,
        client.responses.stream(model="gpt-5-5", input="Berlin?", text_format=City) as stream,
    ):
        stream.until_done()
        final = stream.get_final_response()
    assert final.output_parsed == City(name="Berlin", people=3_700_000)


CHAT_CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}
PLAIN_CALLS = {
    OPENAI_RESPONSES: response(THOUGHT, CALL),
    OPENAI_CHAT: {
        "id": "chatcmpl-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "tool_calls": [CHAT_CALL]},
                "finish_reason": "tool_calls",
            }
        ],
        "usage": CHAT_USAGE,
    },
    ANTHROPIC_MESSAGES: claude(
        {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"},
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Berlin"}},
        stop_reason="tool_use",
    ),
    GEMINI: gemini(
        {"functionCall": {"id": "c1", "name": "weather", "args": {"city": "Berlin"}}, "thoughtSignature": "CiQB"}
    ),
}


@any_upstream
def test_a_tool_is_called_and_its_result_sent_back(spoken: str) -> None:
    """With the SDK's own objects as the next input, as its guide says."""
    upstream = Upstream(spoken, json.dumps(PLAIN_CALLS[spoken]).encode())
    question: Any = [{"role": "user", "content": "The weather in Berlin?"}]
    with upstream.client() as client:
        reply = client.responses.create(model="gpt-5-5", input=question, tools=[WEATHER])
        call = reply.output[-1]
        assert isinstance(call, ResponseFunctionToolCall)
        assert (call.name, call.call_id, json.loads(call.arguments)) == ("weather", "c1", {"city": "Berlin"})
        result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "20 °C"}
        history: Any = [*question, *reply.output, result]
        upstream.reply = plain(spoken, "Warm.").reply
        assert client.responses.create(model="gpt-5-5", input=history, tools=[WEATHER]).output_text == "Warm."
    asked = upstream.asked[1]
    if spoken == OPENAI_RESPONSES:
        kinds = [item.get("type") for item in asked["input"]]
        assert kinds == [None, "reasoning", "function_call", "function_call_output"]
        assert asked["input"][1]["encrypted_content"] == "gAAA"
    elif spoken == OPENAI_CHAT:
        assert [turn["role"] for turn in asked["messages"]] == ["user", "assistant", "tool"]
        assert asked["messages"][1]["tool_calls"][0]["function"]["arguments"] == ARGUMENTS
        assert asked["messages"][2]["content"] == "20 °C"
    elif spoken == ANTHROPIC_MESSAGES:
        assert [turn["role"] for turn in asked["messages"]] == ["user", "assistant", "user"]
        assert [block["type"] for block in asked["messages"][1]["content"]] == ["thinking", "tool_use"]
        assert asked["messages"][1]["content"][0]["signature"] == "EqQB"
    else:
        (part,) = asked["contents"][1]["parts"]
        assert (part["functionCall"]["args"], part["thoughtSignature"]) == ({"city": "Berlin"}, "CiQB")


def test_calls_are_streamed_in_pieces() -> None:
    pieces = [
        chunk({"tool_calls": [{**CHAT_CALL, "function": {"name": "weather", "arguments": ""}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": ARGUMENTS[:5]}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": ARGUMENTS[5:]}}]}),
        chunk({}, "tool_calls"),
    ]
    upstream = Upstream(OPENAI_CHAT, frames(*pieces, {"choices": [], "usage": CHAT_USAGE}, "[DONE]"))
    with (
        upstream.client() as client,
        client.responses.stream(model="gpt-5-5", input="Hi", tools=[WEATHER]) as stream,
    ):
        deltas = [event for event in stream if event.type == "response.function_call_arguments.delta"]
        final = stream.get_final_response()
    assert deltas[-1].snapshot == ARGUMENTS
    (call,) = final.output
    assert call.type == "function_call"
    assert call.parsed_arguments == {"city": "Berlin"}


@any_upstream
def test_a_reply_that_reached_its_maximum_is_incomplete(spoken: str) -> None:
    details = {"incomplete_details": {"reason": "max_output_tokens"}}
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hel"}, "finish_reason": "length"}
    replies = {
        OPENAI_RESPONSES: response(message("Hel"), status="incomplete", **details),
        OPENAI_CHAT: {"id": "chatcmpl-1", "choices": [choice], "usage": CHAT_USAGE},
        ANTHROPIC_MESSAGES: claude({"type": "text", "text": "Hel"}, stop_reason="max_tokens"),
        GEMINI: gemini({"text": "Hel"}, finish="MAX_TOKENS"),
    }
    with Upstream(spoken, json.dumps(replies[spoken]).encode()).client() as client:
        reply = client.responses.create(model="gpt-5-5", input="Hi")
    assert (reply.status, reply.output_text) == ("incomplete", "Hel")
    assert reply.incomplete_details is not None
    assert reply.incomplete_details.reason == "max_output_tokens"


FAILURES = {
    OPENAI_RESPONSES: typed(
        {"type": "response.created", "sequence_number": 0, "response": response(status="in_progress")},
        {"type": "error", "sequence_number": 1, "code": "server_error", "message": "Bang", "param": None},
    ),
    OPENAI_CHAT: frames(chunk({"role": "assistant", "content": "Hel"}), {"error": {"message": "Bang", "code": 500}}),
    ANTHROPIC_MESSAGES: typed(
        *claude_events("Hel")[:4], {"type": "error", "error": {"type": "api_error", "message": "Bang"}}
    ),
    GEMINI: frames(gemini({"text": "Hel"}, finish=None), {"error": {"code": 500, "message": "Bang"}}),
}


@any_upstream
def test_an_error_in_mid_stream_is_raised(spoken: str) -> None:
    with (
        Upstream(spoken, FAILURES[spoken]).client() as client,
        pytest.raises(openai.APIError, match="Bang"),
    ):
        list(client.responses.create(model="gpt-5-5", input="Hi", stream=True))


def test_images_and_files_are_understood_by_any_upstream() -> None:
    content: Any = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "low"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"},
    ]
    upstream = plain(OPENAI_CHAT, "A cat.")
    with upstream.client() as client:
        reply = client.responses.create(model="gpt-5-5", input=[{"role": "user", "content": content}])
    (item,) = reply.output
    assert isinstance(item, ResponseOutputMessage)
    assert [part["type"] for part in upstream.asked[0]["messages"][0]["content"]] == ["text", "image_url", "file"]
