"""What an upstream that speaks Messages gets of a conversation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from apps.dialects.anthropic_messages.thinking import version_of
from apps.dialects.hub.conversation import (
    CacheMark,
    Conversation,
    OutputFormat,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Tuning,
    Turn,
)
from apps.dialects.protocol import UnsupportedField
from tests.dialects.anthropic_messages.asking import HI, NEW, NEWEST, OLD, asked, sent, text
from tests.dialects.bodies import relaxed


@pytest.mark.parametrize(
    ("own", "granted", "max_tokens"), [(None, None, 4096), (100, None, 100), (100, 50, 50), (None, 900, 900)]
)
def test_a_maximum_is_always_sent(own: int | None, granted: int | None, max_tokens: int) -> None:
    assert sent(asked(max_tokens=own), max_tokens=granted)["max_tokens"] == max_tokens


TOOLS = [Tool("grep", "Search", Raw(b'{"properties":{}}'), True, CacheMark()), Tool("ls")]


def test_tools_have_the_schema_of_an_object() -> None:
    assert sent(asked(tools=TOOLS))["tools"] == [
        {
            "name": "grep",
            "description": "Search",
            "input_schema": {"type": "object", "properties": {}},
            "strict": True,
            "cache_control": {"type": "ephemeral"},
        },
        {"name": "ls", "input_schema": {"type": "object", "properties": {}}},
    ]


@pytest.mark.parametrize(
    ("choice", "parallel", "written", "offered"),
    [
        (None, None, None, ["grep", "ls"]),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}, ["grep", "ls"]),
        (ToolChoice("auto"), True, {"type": "auto"}, ["grep", "ls"]),
        (ToolChoice("none"), False, {"type": "none"}, ["grep", "ls"]),
        (ToolChoice("required"), False, {"type": "any", "disable_parallel_tool_use": True}, ["grep", "ls"]),
        (ToolChoice("tool", ("ls",)), None, {"type": "tool", "name": "ls"}, ["grep", "ls"]),
        (ToolChoice("allowed", ("ls",)), None, {"type": "auto"}, ["ls"]),
        (ToolChoice("allowed", ("ls",), must_call=True), None, {"type": "any"}, ["ls"]),
    ],
)
def test_every_tool_choice_is_said(
    choice: ToolChoice | None, parallel: bool | None, written: dict[str, Any] | None, offered: list[str]
) -> None:
    body = sent(asked(tools=TOOLS, tool_choice=choice, parallel_tools=parallel))
    assert body.get("tool_choice") == written
    assert [tool["name"] for tool in body["tools"]] == offered


def test_a_choice_among_no_tools_is_not_sent() -> None:
    body = sent(asked(tool_choice=ToolChoice("auto"), parallel_tools=False))
    assert not {"tools", "tool_choice"} & body.keys()


@pytest.mark.parametrize(
    ("model", "reasoning", "thinking", "effort"),
    [
        (NEW, Reasoning(), None, None),
        (NEW, Reasoning(effort="none"), {"type": "disabled"}, None),
        (NEW, Reasoning(is_on=False), {"type": "disabled"}, None),
        (NEW, Reasoning(effort="high"), {"type": "adaptive", "display": "summarized"}, "high"),
        (NEW, Reasoning(effort="xhigh"), {"type": "adaptive", "display": "summarized"}, "high"),
        (NEWEST, Reasoning(effort="xhigh"), {"type": "adaptive", "display": "summarized"}, "xhigh"),
        (NEWEST, Reasoning(effort="minimal"), {"type": "adaptive", "display": "summarized"}, "low"),
        (NEWEST, Reasoning(is_on=True, summary="omitted"), {"type": "adaptive", "display": "omitted"}, None),
        (NEWEST, Reasoning(is_on=True, budget_tokens=8192), {"type": "adaptive", "display": "summarized"}, "medium"),
        (NEW, Reasoning(is_on=True, budget_tokens=8000), {"type": "enabled", "budget_tokens": 8000}, None),
        (OLD, Reasoning(effort="low"), {"type": "enabled", "budget_tokens": 2048}, None),
        (OLD, Reasoning(effort="max"), {"type": "enabled", "budget_tokens": 5000}, None),
        (OLD, Reasoning(is_on=True, budget_tokens=99_999), {"type": "enabled", "budget_tokens": 9_999}, None),
        ("kimi-k2", Reasoning(is_on=True), {"type": "enabled", "budget_tokens": 5000}, None),
    ],
)
def test_reasoning_is_asked_for_as_the_model_knows_it(
    model: str, reasoning: Reasoning, thinking: dict[str, Any] | None, effort: str | None
) -> None:
    body = sent(asked(reasoning=reasoning, max_tokens=10_000), model)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort


UNSIGNED = (HI, Turn("assistant", [ToolCall("a", "grep", "")]), Turn("user", [ToolResult("a", [Text("1")])]))


@pytest.mark.parametrize(
    "conversation",
    [
        asked(reasoning=Reasoning(effort="high"), max_tokens=1024),
        asked(reasoning=Reasoning(effort="high"), max_tokens=9000, tools=TOOLS, tool_choice=ToolChoice("required")),
        asked(*UNSIGNED, reasoning=Reasoning(effort="high"), max_tokens=9000, tools=TOOLS),
    ],
)
def test_a_budget_that_would_be_refused_is_left_out_and_named(conversation: Conversation) -> None:
    assert "thinking" not in sent(conversation, OLD)
    assert conversation.adapted == ["reasoning: left out"]


def test_sampling_is_clamped_and_what_thinking_forbids_left_out() -> None:
    conversation = asked(tuning=Tuning(temperature=1.4, top_k=9, seed=1, user="u1"))
    body = sent(conversation, NEW)
    assert (body["temperature"], body["top_k"], body["metadata"]) == (1, 9, {"user_id": "u1"})
    assert conversation.adapted == ["seed: left out", "temperature: 1.4 -> 1"]
    thinking = asked(tuning=Tuning(temperature=0.2, top_p=0.5, top_k=9), reasoning=Reasoning(effort="low"))
    assert not {"temperature", "top_p", "top_k"} & sent(thinking, NEW).keys()
    assert thinking.adapted == ["temperature: left out", "top_p: left out", "top_k: left out"]


def test_of_temperature_and_top_p_newer_models_get_the_one_that_says_something() -> None:
    conversation = asked(tuning=Tuning(temperature=0.2, top_p=0.5))
    assert "top_p" not in sent(conversation, NEW)
    assert conversation.adapted == ["top_p: left out"]
    assert sent(asked(tuning=Tuning(temperature=1, top_p=0.5)), NEW)["top_p"] == 0.5
    assert sent(asked(tuning=Tuning(temperature=0.2, top_p=0.5)), "claude-3-5-haiku")["top_p"] == 0.5


@pytest.mark.parametrize("model", ["claude-opus-4-8", "anthropic/claude-opus-4.7", "claude-sonnet-5"])
def test_models_that_draw_alone_get_no_sampling_but_what_says_nothing(model: str) -> None:
    conversation = asked(tuning=Tuning(temperature=0.2, top_p=0.9, top_k=9))
    assert not {"temperature", "top_p", "top_k"} & sent(conversation, model).keys()
    assert conversation.adapted == ["temperature: left out", "top_p: left out", "top_k: left out"]
    assert sent(asked(tuning=Tuning(temperature=1)), model)["temperature"] == 1
    assert sent(asked(tuning=Tuning(temperature=0.2)), "claude-sonnet-4-7")["temperature"] == 0.2


def test_a_history_of_calls_declares_its_tools_where_none_are_offered() -> None:
    calls = Turn("assistant", [ToolCall("a", "grep", ""), ToolCall("b", "grep", "")])
    conversation = asked(HI, calls, Turn("user", [ToolResult("a", []), ToolResult("b", [])]))
    body = sent(conversation)
    assert body["tools"] == [{"name": "grep", "input_schema": {"type": "object", "properties": {}}}]
    assert body["tool_choice"] == {"type": "none"}
    assert conversation.adapted == ["tools of earlier calls: declared"]


def test_a_schema_is_kept_and_any_json_is_answered_through_a_tool() -> None:
    schema = Raw(b'{"type":"object","additionalProperties":false}')
    body = sent(asked(output_format=OutputFormat("schema", schema, "x")))
    assert body["output_config"] == {
        "format": {"type": "json_schema", "schema": {"type": "object", "additionalProperties": False}}
    }
    conversation = asked(output_format=OutputFormat("json"), names={"output_format": "response_format"})
    body = sent(conversation)
    assert body["tool_choice"] == {"type": "tool", "name": conversation.answer_tool}
    with pytest.raises(UnsupportedField) as refused:
        sent(asked(output_format=OutputFormat("json"), tools=TOOLS, names={"output_format": "response_format"}))
    assert refused.value.param == "response_format"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": 1}, "logprobs"),
        ({"makes_images": True}, "makes_images"),
        ({"stop": ("\n",)}, "stop"),
        ({"output_format": OutputFormat("schema")}, "output_format"),
    ],
)
def test_meaning_that_cannot_be_said_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedField) as refused:
        sent(asked(**fields))
    assert refused.value.param == param


def test_a_mark_for_the_whole_stands_behind_the_prompt_and_the_last_block() -> None:
    conversation = asked(Turn("system", [Text("A")]), HI, cache=CacheMark(), tools=[Tool("ls")])
    body = sent(conversation)
    assert body["system"] == [text("A", cache_control={"type": "ephemeral"})]
    assert body["messages"][0]["content"] == [text("Hi", cache_control={"type": "ephemeral"})]
    assert body["tools"][0]["cache_control"] == {"type": "ephemeral"}
    bare = sent(asked(cache=CacheMark("1h"), tools=[Tool("ls")]))
    assert bare["tools"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}


marks = st.none() | st.builds(CacheMark, st.sampled_from(["", "5m", "1h"]))


@relaxed
@given(st.lists(marks, max_size=6), st.lists(marks, max_size=6), st.lists(marks, min_size=1, max_size=6), marks)
def test_marks_are_never_more_than_four_and_never_grow_longer(
    tools: list[CacheMark | None],
    system: list[CacheMark | None],
    blocks: list[CacheMark | None],
    whole: CacheMark | None,
) -> None:
    conversation = asked(
        Turn("system", [Text("s", mark) for mark in system]),
        Turn("user", [Text("u", mark) for mark in blocks]),
        tools=[Tool(f"t{index}", cache=mark) for index, mark in enumerate(tools)],
        cache=whole,
    )
    body = sent(conversation)
    marked = [
        block["cache_control"].get("ttl", "5m")
        for block in [*body.get("tools", []), *body.get("system", []), *body["messages"][0]["content"]]
        if "cache_control" in block
    ]
    wanted = sum(mark is not None for mark in [*tools, *system, *blocks])
    assert len(marked) <= 4
    assert len(marked) >= min(4, wanted)
    assert marked == sorted(marked, key=["1h", "5m"].index)
    assert ("marks" in "".join(conversation.adapted)) == (wanted + (whole is not None and not blocks[-1]) > 4)


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ("claude-opus-4-8", (4, 8)),
        ("anthropic/claude-sonnet-4.6", (4, 6)),
        ("claude-sonnet-4-20250514", (4, 0)),
        ("claude-3-7-sonnet-20250219", (3, 7)),
        ("anthropic.claude-opus-4-6-v1:0", (4, 6)),
        ("claude-opus-5", (5, 0)),
        ("claude-haiku-latest", (0, 0)),
        ("deepseek-v4-pro", (0, 0)),
    ],
)
def test_a_models_version_is_in_its_name(model: str, version: tuple[int, int]) -> None:
    assert version_of(model) == version
