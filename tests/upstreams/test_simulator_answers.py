"""What the simulator says, in every dialect alike."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apps.upstreams.simulator import prose
from tests.upstreams.asking import (
    CHAT,
    GEMINI,
    GEMINI_STREAM,
    MESSAGES,
    RESPONSES,
    Json,
    ask,
    chat,
    gemini,
    listen,
    messages,
    quick,
    responses,
)

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("get_weather", "get_time")
]


def text_of(body: Json) -> Any:
    return body["choices"][0]["message"]["content"]


async def test_the_same_request_gets_the_same_text() -> None:
    first = await ask(quick(), CHAT, chat("Tell me a story about Vienna"))
    second = await ask(quick(), CHAT, chat("Tell me a story about Vienna"))
    other = await ask(quick(), CHAT, chat("Tell me a story about Madrid"))
    assert text_of(first[1]) == text_of(second[1]) != text_of(other[1])


async def test_a_long_answer_goes_on() -> None:
    _, body = await ask(quick(), CHAT, chat("Write 500 words about rivers"))
    assert 500 < len(text_of(body).split()) < 900
    assert body["usage"]["completion_tokens"] == -(-len(text_of(body)) // 4)
    assert len(prose.exactly("seed", 4_001)) == 4_001


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, chat("Hi", max_tokens=5)),
        (MESSAGES, messages("Hi") | {"max_tokens": 5}),
        (GEMINI, gemini("Hi", maxOutputTokens=5)),
    ],
)
async def test_max_tokens_is_honoured(path: str, body: Json) -> None:
    _, reply = await ask(quick(), path, body)
    assert '"This is the Hypereal"' in json.dumps(reply)
    assert any(f'"{said}"' in json.dumps(reply) for said in ("length", "max_tokens", "MAX_TOKENS"))


async def test_stop_sequences_end_the_text_before_them() -> None:
    _, body = await ask(quick(), MESSAGES, messages("one two three", stop_sequences=["three", " two"]))
    assert body["content"][0]["text"].endswith('You wrote: "one')
    assert (body["stop_reason"], body["stop_sequence"]) == ("stop_sequence", " two")
    _, body = await ask(quick(), CHAT, chat("one two three", stop="two"))
    assert text_of(body).endswith('"one ')
    assert body["choices"][0]["finish_reason"] == "stop"


async def test_n_choices_differ_and_all_are_counted() -> None:
    _, one = await ask(quick(), CHAT, chat("Hello"))
    _, three = await ask(quick(), CHAT, chat("Hello", n=3))
    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in three["choices"]}) == 3
    assert three["usage"]["completion_tokens"] > 3 * one["usage"]["completion_tokens"]
    assert three["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]


async def test_tools_are_called_when_asked_for_and_only_then() -> None:
    async def called(text: str, **more: Any) -> list[tuple[str, str]]:
        _, body = await ask(quick(), CHAT, chat(text, tools=CHAT_TOOLS, **more))
        calls = body["choices"][0]["message"].get("tool_calls", [])
        return [(call["function"]["name"], call["function"]["arguments"]) for call in calls]

    assert await called("What does get_weather do?") == []
    assert await called("Use the tool get_time for Rome") == [("get_time", '{"city":"Rome"}')]
    assert await called("Please use a tool") == [("get_weather", '{"city":"Please use a tool"}')]
    assert await called("Call get_weather twice") == [("get_weather", '{"city":"Call get_weather twice"}')] * 2
    assert await called("Call get_weather twice", parallel_tool_calls=False) == [
        ("get_weather", '{"city":"Call get_weather twice"}')
    ]
    assert await called("Use get_time and call get_weather for Bonn") == [
        ("get_time", '{"city":"Bonn"}'),
        ("get_weather", '{"city":"Bonn"}'),
    ]
    assert await called("Hello", tool_choice="required") == [("get_weather", '{"city":"Hello"}')]
    assert await called("Hello", tool_choice={"type": "function", "function": {"name": "get_time"}}) == [
        ("get_time", '{"city":"Hello"}')
    ]
    assert await called("Use the tool get_time", tool_choice="none") == []
    assert await called('Use get_time with {"city": "Lima", "zone": 3}') == [("get_time", '{"city":"Lima","zone":3}')]


async def test_a_demand_for_tools_ends_when_all_were_called() -> None:
    history = [
        {"role": "user", "content": "Hello"},
        {
            "role": "assistant",
            "tool_calls": [
                {"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}}
                for name in ("get_weather", "get_time")
            ],
        },
        {"role": "tool", "tool_call_id": "get_weather", "content": "dry"},
        {"role": "tool", "tool_call_id": "get_time", "content": "noon"},
    ]
    body = {"model": "m", "messages": history, "tools": CHAT_TOOLS, "tool_choice": "required"}
    _, reply = await ask(quick(), CHAT, body)
    assert 'The tool answered: "dry". The tool answered: "noon".' in text_of(reply)


async def test_chat_thinks_when_asked() -> None:
    _, silent = await ask(quick(), CHAT, chat("Hello", reasoning_effort="none"))
    assert "reasoning_content" not in silent["choices"][0]["message"]
    _, low = await ask(quick(), CHAT, chat("Hello", reasoning_effort="low"))
    _, high = await ask(quick(), CHAT, chat("Hello", reasoning_effort="high"))
    low_tokens = low["usage"]["completion_tokens_details"]["reasoning_tokens"]
    high_tokens = high["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert 0 < low_tokens < high_tokens < high["usage"]["completion_tokens"]
    assert low["choices"][0]["message"]["reasoning_content"].startswith('They wrote "Hello".')


async def test_omitted_thinking_streams_its_signature_only() -> None:
    thinking = {"type": "adaptive", "display": "omitted"}
    events = await listen(quick(), MESSAGES, messages("Hello", thinking=thinking))
    deltas = [event["delta"]["type"] for event in events if event["type"] == "content_block_delta"]
    assert deltas[0] == "signature_delta"
    assert set(deltas[1:]) == {"text_delta"}
    assert events[-2]["usage"]["output_tokens_details"]["thinking_tokens"] > 10


async def test_a_messages_stream_has_the_providers_order() -> None:
    events = await listen(quick(), MESSAGES, messages("Hi"))
    kinds = [event["type"] for event in events]
    assert kinds[:3] == ["message_start", "content_block_start", "ping"]
    assert set(kinds[3:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert events[0]["message"]["usage"]["output_tokens"] == 1
    assert events[-2]["usage"] == {
        "input_tokens": 3,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 21,
    }


async def test_tool_input_streams_after_an_empty_fragment() -> None:
    tools = [{"name": "list_files", "input_schema": {"type": "object"}}]
    events = await listen(quick(), MESSAGES, messages("Use the tool list_files", tools=tools))
    fragments = [event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta"]
    assert fragments == [""]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


async def test_chat_tells_usage_in_a_stream_only_when_asked() -> None:
    without = await listen(quick(), CHAT, chat("Hi"))
    assert all("usage" not in chunk and chunk["choices"] for chunk in without)
    asked = await listen(quick(), CHAT, chat("Hi", stream_options={"include_usage": True}))
    assert asked[-1]["usage"]["total_tokens"] == 22
    assert asked[-2]["choices"][0]["finish_reason"] == "stop"


async def test_responses_numbers_every_event() -> None:
    events = await listen(quick(), RESPONSES, responses("Hi", reasoning={"effort": "low"}))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [event["type"] for event in events if not event["type"].endswith(".delta")]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    usage = events[-1]["response"]["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert 0 < usage["output_tokens_details"]["reasoning_tokens"] < usage["output_tokens"]


async def test_gemini_thinks_calls_and_counts() -> None:
    body = {
        **gemini("Use the tool get_weather for Quito", thinkingConfig={"includeThoughts": True}),
        "tools": [{"functionDeclarations": [{"name": "get_weather", "parameters": {"type": "OBJECT", **SCHEMA}}]}],
    }
    body["tools"][0]["functionDeclarations"][0]["parameters"]["type"] = "OBJECT"
    _, reply = await ask(quick(), GEMINI, body)
    thought, call = reply["candidates"][0]["content"]["parts"]
    assert thought["thought"] is True
    assert call["functionCall"]["args"] == {"city": "Quito"}
    assert call["thoughtSignature"]
    usage = reply["usageMetadata"]
    parts = usage["promptTokenCount"] + usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
    assert usage["totalTokenCount"] == parts
    chunks = await listen(quick(), GEMINI_STREAM, gemini("Hello"))
    assert chunks[0]["usageMetadata"] == {
        "promptTokenCount": 3,
        "totalTokenCount": 3,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 3}],
    }
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
    assert chunks[-1]["usageMetadata"]["candidatesTokenCount"] == 21


async def test_any_json_object_where_no_schema_is_given() -> None:
    _, body = await ask(quick(), CHAT, chat("Hello", response_format={"type": "json_object"}))
    assert json.loads(text_of(body)) == {"simulator": "Hypereal simulator", "model": "gpt-5-5", "you_wrote": "Hello"}


async def test_the_longer_of_two_names_at_one_place_is_meant() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("get", "get_all", "put")]
    _, body = await ask(quick(), CHAT, chat("Run put, then run get_all", tools=tools))
    calls = body["choices"][0]["message"]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["put", "get_all"]
