"""A caller's chat request as a Conversation: nothing that it means is lost, and what the hub cannot say is refused."""

from __future__ import annotations

from typing import Any

import pytest

from apps.dialects.hub.conversation import (
    CacheMark,
    Conversation,
    Document,
    Image,
    Part,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from apps.dialects.hub.reasoning import Seal
from apps.dialects.openai_chat.conversation import read_conversation
from apps.dialects.protocol import InvalidRequest, UnsupportedField
from tests.dialects.bodies import parse

PNG = "iVBORw0KGgo="


def read(**fields: Any) -> Conversation:
    return read_conversation(parse("chat", **fields))


def turns(*messages: dict[str, Any]) -> list[Turn]:
    return read(messages=list(messages)).turns


def parts(**message: Any) -> list[Part]:
    [turn] = turns(message)
    return turn.parts


def test_system_and_developer_turns_may_stand_anywhere() -> None:
    said = turns(
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi", "name": "alice"},
        {"role": "developer", "content": [{"type": "text", "text": "In French."}]},
    )
    assert said == [
        Turn("system", [Text("Be brief.")], "messages[0]"),
        Turn("user", [Text("Hi")], "messages[1]", "alice"),
        Turn("developer", [Text("In French.")], "messages[2]"),
    ]


def test_images_and_files_come_as_they_stood_in_the_body() -> None:
    content = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
        {"type": "image_url", "image_url": "https://example.com/a.jpg"},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
    ]
    assert parts(role="user", content=content) == [
        Text("Look"),
        Image("image/png", PNG, detail="low"),
        Image(url="https://example.com/a.jpg"),
        Document("application/pdf", "JVBERi0=", name="a.pdf"),
    ]


def test_cache_marks_are_read_from_parts_messages_and_tools() -> None:
    assert parts(role="user", content=[{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]) == [
        Text("a", CacheMark())
    ]
    hour = {"type": "ephemeral", "ttl": "1h"}
    assert parts(role="user", content="a", cache_control=hour) == [Text("a", CacheMark("1h"))]
    part = {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}
    assert parts(role="user", content=[part]) == [Text("a", CacheMark())]
    [result] = parts(role="tool", tool_call_id="c", content="x", cache_control=hour)
    assert isinstance(result, ToolResult)
    assert result.cache == CacheMark("1h")
    part = {"type": "text", "text": "x", "cache_control": hour}
    assert parts(role="tool", tool_call_id="c", content=[part]) == [ToolResult("c", [Text("x")], cache=CacheMark("1h"))]
    asked = read(tools=[{"type": "function", "function": {"name": "f"}, "cache_control": hour}], cache_control=hour)
    assert (asked.tools[0].cache, asked.cache) == (CacheMark("1h"), CacheMark("1h"))


def test_tool_calls_and_their_results_keep_ids_and_arguments_verbatim() -> None:
    said = turns(
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":  1}'}},
                {"id": "c2", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}},
                {"id": "c3", "type": "function", "function": {"name": "g", "arguments": {"b": 2}}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}], "name": "patch"},
    )
    assert said[0].parts == [
        ToolCall("c1", "f", '{"a":  1}'),
        ToolCall("c2", "patch", "*** Begin", is_custom=True),
        ToolCall("c3", "g", '{"b": 2}'),
    ]
    assert said[1].role == "user"
    assert said[1].parts == [ToolResult("c1", [Text("one")])]
    assert said[2].parts == [ToolResult("c2", [Text("two")], name="patch")]


def test_functions_as_they_were_called_first_are_tools() -> None:
    asked = read(
        functions=[{"name": "f", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
        messages=[
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "ok"},
        ],
    )
    assert [tool.name for tool in asked.tools] == ["f"]
    assert asked.tool_choice == ToolChoice("tool", ("f",))
    assert asked.turns[0].parts == [ToolCall("f", "f", "{}")]
    assert asked.turns[1].parts == [ToolResult("f", [Text("ok")], name="f")]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ("any", ToolChoice("required")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("tool", ("f",))),
        ({"type": "custom", "custom": {"name": "p"}}, ToolChoice("tool", ("p",))),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "name": "p"}],
                },
            },
            ToolChoice("allowed", ("f", "p"), must_call=True),
        ),
    ],
)
def test_every_form_of_tool_choice_is_understood(choice: Any, expected: ToolChoice) -> None:
    assert read(tool_choice=choice).tool_choice == expected


def test_reasoning_of_an_earlier_answer_comes_back_sealed_or_plain() -> None:
    assert parts(role="assistant", content="4", reasoning_content="2+2") == [Thinking("2+2"), Text("4")]
    assert parts(role="assistant", content="4", reasoning="2+2") == [Thinking("2+2"), Text("4")]
    details = [
        {"type": "reasoning.text", "text": "Hm", "signature": "Eq==", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "format": "openai-responses-v1", "index": 1},
    ]
    assert parts(role="assistant", content="4", reasoning_content="Hm", reasoning_details=details) == [
        Thinking("Hm", Seal("anthropic", "signature", "Eq==")),
        Thinking("", Seal("openai", "encrypted", "gAAA", "rs_1"), id="rs_1"),
        Text("4"),
    ]


def test_a_signature_that_stands_on_a_tool_call_is_taken_from_there_or_from_the_details_once() -> None:
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
        "extra_content": {"google": {"thought_signature": "CiQ="}},
    }
    seal = Seal("gemini", "encrypted", "CiQ=", "c1")
    assert parts(role="assistant", tool_calls=[call]) == [Thinking(seal=seal), ToolCall("c1", "f", "{}")]
    details = [{"type": "reasoning.encrypted", "data": "CiQ=", "id": "c1", "format": "google-gemini-v1", "index": 0}]
    assert parts(role="assistant", tool_calls=[call], reasoning_details=details) == [
        Thinking(seal=seal),
        ToolCall("c1", "f", "{}"),
    ]


def test_refusals_and_drawn_images_of_earlier_answers_are_kept() -> None:
    assert parts(role="assistant", content=None, refusal="No.") == [Refusal("No.")]
    images = [{"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{PNG}"}}]
    assert parts(role="assistant", content="Here", images=images) == [Text("Here"), Image("image/jpeg", PNG)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"reasoning_effort": "high"}, Reasoning(effort="high")),
        ({"reasoning": {"effort": "low", "exclude": True}}, Reasoning(effort="low", summary="omitted")),
        ({"reasoning": {"max_tokens": 2000}}, Reasoning(True, 2000)),
        ({"thinking": {"type": "disabled"}}, Reasoning(False)),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, Reasoning(True, 1024)),
        ({"enable_thinking": True, "thinking_budget": 500}, Reasoning(True, 500)),
        ({"enable_thinking": False}, Reasoning(False)),
    ],
)
def test_reasoning_is_understood_in_every_providers_words(fields: dict[str, Any], expected: Reasoning) -> None:
    assert read(**fields).reasoning == expected


def test_everything_else_that_a_request_can_say() -> None:
    schema = {"name": "s", "schema": {"type": "object"}, "strict": True, "description": "d"}
    asked = read(
        max_completion_tokens=50,
        max_tokens=80,
        stop="END",
        n=2,
        logprobs=True,
        top_logprobs=3,
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": schema},
        temperature=0,
        seed=7,
        safety_identifier="u1",
        user="u2",
        metadata={"a": "b"},
        prompt_cache_key="k",
        stream=True,
    )
    assert (asked.max_tokens, asked.stop, asked.n, asked.logprobs) == (50, ("END",), 2, 3)
    assert asked.parallel_tools is False
    assert asked.output_format is not None
    assert bytes(asked.output_format.schema or b"") == b'{"type": "object"}'
    assert (asked.output_format.name, asked.output_format.is_strict) == ("s", True)
    assert (asked.tuning.temperature, asked.tuning.seed, asked.tuning.user) == (0.0, 7, "u1")
    assert (asked.cache_key, asked.is_stream) == ("k", True)
    assert asked.name_of("max_tokens") == "max_completion_tokens"
    assert asked.name_of("user") == "safety_identifier"


def test_an_image_request_is_read() -> None:
    asked = read(modalities=["image", "text"], image_config={"aspect_ratio": "16:9", "image_size": "2K"})
    assert (asked.makes_images, asked.image_aspect, asked.image_size) == (True, "16:9", "2K")


def test_fields_that_nobody_knows_are_named_and_silent_ones_are_not() -> None:
    asked = read(min_p=0.1, service_tier="auto", store=False, stream_options=None, zeal=None)
    assert asked.unread == ("min_p",)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]}, "messages[0].tool_calls[0].function"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"stop": 5}, "stop"),
        ({"temperature": "hot"}, "temperature"),
        ({"response_format": "json"}, "response_format"),
    ],
)
def test_a_malformed_part_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(**fields)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "messages[0].content[0].type"),
        ({"tools": [{"type": "grammar"}]}, "tools[0].type"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"tool_choice": {"type": "oracle"}}, "tool_choice"),
    ],
)
def test_meaning_that_the_hub_has_no_word_for_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedField) as refused:
        read(**fields)
    assert refused.value.param == param
