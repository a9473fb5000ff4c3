"""What a caller's Messages request says, as the hub knows it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apps.dialects.anthropic_messages.conversation import read_conversation
from apps.dialects.anthropic_messages.request import parse as parse_body
from apps.dialects.anthropic_messages.sealed import UNSIGNED
from apps.dialects.hub.conversation import (
    CacheMark,
    Conversation,
    Document,
    Image,
    OutputFormat,
    Part,
    Reasoning,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from apps.dialects.hub.reasoning import Seal, wrap
from apps.dialects.protocol import InvalidRequest, UnsupportedField
from tests.dialects.bodies import parse

GREP = {"name": "grep", "description": "Search", "input_schema": {"type": "object"}}


def read(**fields: Any) -> Conversation:
    return read_conversation(parse("messages", **fields))


def parts_of(*blocks: dict[str, Any], role: str = "user") -> list[Part]:
    return read(messages=[{"role": role, "content": list(blocks)}]).turns[0].parts


def test_system_prompts_stand_first_and_keep_their_marks() -> None:
    asked = read(
        system=[{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        messages=[{"role": "user", "content": "Hi"}, {"role": "system", "content": "Be brief."}],
    )
    assert [(turn.role, turn.field, turn.parts) for turn in asked.turns] == [
        ("system", "system", [Text("Be kind.", CacheMark("1h"))]),
        ("user", "messages[0]", [Text("Hi")]),
        ("system", "messages[1]", [Text("Be brief.")]),
    ]


def test_blocks_become_parts() -> None:
    png = {"type": "base64", "media_type": "image/PNG", "data": "iVBO"}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}
    assert parts_of(
        {"type": "image", "source": png, "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": pdf, "title": "A", "context": "B", "citations": {"enabled": True}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "page"}]}},
        {"type": "search_result", "source": "s", "title": "T", "content": [{"type": "text", "text": "found"}]},
    ) == [
        Image("image/png", "iVBO", cache=CacheMark()),
        Image(url="https://example.com/a.png"),
        Document("application/pdf", "JVBE", name="A", context="B", wants_citations=True),
        Document(text="words"),
        Document(text="page"),
        Document(text="found", name="T", context="s"),
    ]


def test_a_calls_input_is_carried_byte_by_byte() -> None:
    raw = (
        b'{"model":"m","max_tokens":9,"messages":[{"role":"assistant","content":'
        b'[{"type":"tool_use","id":"toolu_1","name":"grep","input":{ "b": 1.0,  "a": "\\u00fc" }}]}]}'
    )
    [turn] = read_conversation(parse_body(raw)).turns
    assert turn.parts == [ToolCall("toolu_1", "grep", '{ "b": 1.0,  "a": "\\u00fc" }')]


def test_arguments_that_were_no_json_come_back_as_they_were() -> None:
    block = {"type": "tool_use", "id": "t", "name": "grep", "input": {"INVALID_JSON": '{"a": '}}
    assert parts_of(block, role="assistant") == [ToolCall("t", "grep", '{"a": ')]


def test_results_keep_images_and_errors() -> None:
    png = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}
    assert parts_of(
        {"type": "tool_result", "tool_use_id": "a", "content": "done"},
        {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "no"}, png], "is_error": True},
        {"type": "tool_result", "tool_use_id": "c"},
    ) == [
        ToolResult("a", [Text("done")]),
        ToolResult("b", [Text("no"), Image("image/png", "iVBO")], is_error=True),
        ToolResult("c", []),
    ]


def test_thinking_comes_back_with_whoevers_seal_it_carries() -> None:
    foreign = Seal("openai", "encrypted", "gAAA", "rs_1")
    assert parts_of(
        {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
        {"type": "thinking", "thinking": "", "signature": "EqQC"},
        {"type": "thinking", "thinking": "so", "signature": wrap(foreign)},
        {"type": "thinking", "thinking": "ah", "signature": UNSIGNED},
        {"type": "redacted_thinking", "data": "EmwK"},
        {"type": "redacted_thinking", "data": wrap(foreign)},
        role="assistant",
    ) == [
        Thinking("hm", Seal("anthropic", "signature", "EqQB")),
        Thinking("", Seal("anthropic", "signature", "EqQC")),
        Thinking("so", foreign),
        Thinking("ah"),
        Thinking(seal=Seal("anthropic", "encrypted", "EmwK")),
        Thinking(seal=foreign),
    ]


def test_blocks_that_only_this_protocol_knows_are_left_out_whole_and_named() -> None:
    asked = read(
        messages=[
            {
                "role": "assistant",
                "content": [
                    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                    {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
                    {"type": "text", "text": "Found."},
                ],
            }
        ],
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        output_config={"task_budget": {"total": 9}},
    )
    assert asked.turns[0].parts == [Text("Found.")]
    assert asked.unread == (
        "context_management",
        "output_config.task_budget",
        "messages[0].content[0] server_tool_use",
        "messages[0].content[1] web_search_tool_result",
    )


def test_tools_keep_schema_strictness_and_marks() -> None:
    asked = read(tools=[{**GREP, "strict": True, "cache_control": {"type": "ephemeral"}, "defer_loading": True}])
    [tool] = asked.tools
    assert (tool.name, tool.description, tool.is_strict, tool.cache) == ("grep", "Search", True, CacheMark())
    assert tool.schema is not None
    assert json.loads(bytes(tool.schema)) == {"type": "object"}
    assert asked.unread == ("tools[0].defer_loading",)


def test_tools_that_anthropic_defines_and_the_caller_runs_get_a_schema() -> None:
    asked = read(
        tools=[
            {"type": "bash_20250124", "name": "bash"},
            {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
            {"type": "memory_20250818", "name": "memory"},
        ]
    )
    assert [tool.name for tool in asked.tools] == ["bash", "str_replace_based_edit_tool", "memory"]
    for tool in asked.tools:
        assert tool.description
        assert tool.schema is not None
        assert json.loads(bytes(tool.schema))["properties"]["command"]["type"] == "string"


def test_a_tool_that_no_other_model_can_use_is_refused() -> None:
    with pytest.raises(UnsupportedField) as refused:
        read(tools=[GREP, {"type": "computer_20250124", "name": "computer", "display_width_px": 1}])
    assert refused.value.param == "tools[1].type"


def test_a_search_that_is_only_offered_is_left_out_and_one_that_is_all_there_is_refused() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    asked = read(tools=[GREP, search])
    assert [tool.name for tool in asked.tools] == ["grep"]
    assert asked.unread == ("tools[1] web_search",)
    with pytest.raises(UnsupportedField) as alone:
        read(tools=[search])
    assert alone.value.param == "tools[0].type"
    with pytest.raises(UnsupportedField) as demanded:
        read(tools=[GREP, search], tool_choice={"type": "tool", "name": "web_search"})
    assert demanded.value.param == "tool_choice.name"


@pytest.mark.parametrize(
    ("choice", "read_as"),
    [
        ({"type": "auto"}, ToolChoice("auto")),
        ({"type": "any"}, ToolChoice("required")),
        ({"type": "none"}, ToolChoice("none")),
        ({"type": "tool", "name": "grep"}, ToolChoice("tool", ("grep",))),
    ],
)
def test_every_tool_choice_is_read(choice: dict[str, Any], read_as: ToolChoice) -> None:
    asked = read(tools=[GREP], tool_choice={**choice, "disable_parallel_tool_use": True})
    assert (asked.tool_choice, asked.parallel_tools) == (read_as, False)
    assert read(tools=[GREP], tool_choice=choice).parallel_tools is None


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({}, Reasoning()),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, Reasoning(True, 2048)),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, Reasoning(True, summary="omitted")),
        (
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "xhigh"}},
            Reasoning(True, None, "xhigh", "auto"),
        ),
        ({"thinking": {"type": "disabled"}}, Reasoning(False)),
        ({"output_config": {"effort": "low"}}, Reasoning(effort="low")),
    ],
)
def test_thinking_in_all_its_forms(fields: dict[str, Any], reasoning: Reasoning) -> None:
    assert read(**fields).reasoning == reasoning


def test_structured_output_by_both_of_its_names() -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    new, old = read(output_config={"format": wanted}), read(output_format=wanted)
    for asked in (new, old):
        assert isinstance(asked.output_format, OutputFormat)
        assert asked.output_format.kind == "schema"
    assert (new.name_of("output_format"), old.name_of("output_format")) == ("output_config.format", "output_format")


def test_the_rest_of_the_request() -> None:
    asked = read(
        max_tokens=77,
        stop_sequences=["END"],
        temperature=0.5,
        top_p=0.9,
        top_k=5,
        metadata={"user_id": "u1"},
        cache_control={"type": "ephemeral"},
        stream=True,
    )
    assert (asked.max_tokens, asked.stop, asked.is_stream, asked.cache) == (77, ("END",), True, CacheMark())
    assert (asked.tuning.temperature, asked.tuning.top_p, asked.tuning.top_k, asked.tuning.user) == (0.5, 0.9, 5, "u1")
    assert asked.name_of("stop") == "stop_sequences"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages[0].content[0].tool_use_id"),
        ({"tool_choice": {"type": "some"}, "tools": [GREP]}, "tool_choice.type"),
        ({"thinking": {"type": "deep"}}, "thinking.type"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"temperature": "hot"}, "temperature"),
    ],
)
def test_a_malformed_part_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(**fields)
    assert refused.value.param == param
