"""What an upstream that speaks Messages gets of a conversation."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from apps.dialects.anthropic_messages.body import write_conversation
from apps.dialects.anthropic_messages.thinking import version_of
from apps.dialects.hub.conversation import (
    CacheMark,
    Conversation,
    Document,
    Image,
    OutputFormat,
    Part,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Tuning,
    Turn,
)
from apps.dialects.hub.reasoning import Seal
from apps.dialects.protocol import InvalidRequest, UnsupportedField
from tests.dialects.bodies import relaxed

HI = Turn("user", [Text("Hi")], "messages[0]")
OLD, NEW, NEWEST = "claude-haiku-4-5", "claude-opus-4-6", "claude-opus-4-8"


def asked(*turns: Turn, **fields: Any) -> Conversation:
    return Conversation(list(turns) or [HI], **fields)


def sent(conversation: Conversation, model: str = NEWEST, max_tokens: int | None = None) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(write_conversation(conversation, upstream_model=model, max_tokens=max_tokens))
    return body


def messages(*turns: Turn) -> Any:
    return sent(asked(*turns))["messages"]


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def test_system_and_developer_turns_are_hoisted_with_their_marks() -> None:
    conversation = asked(
        Turn("system", [Text("A", CacheMark()), Text("B")], "messages[0]"),
        HI,
        Turn("developer", [Text("C", CacheMark("1h"))], "messages[2]"),
    )
    body = sent(conversation)
    # What follows a short-lived mark cannot live longer.
    assert body["system"] == [
        text("A", cache_control={"type": "ephemeral"}),
        text("B"),
        text("C", cache_control={"type": "ephemeral"}),
    ]
    assert conversation.adapted == ["messages[2]: moved to the system prompt"]


def test_turns_of_one_role_become_one_message_and_empty_ones_none() -> None:
    assert messages(HI, Turn("user", [Text("there")]), Turn("assistant", [Text("  ")]), Turn("user", [Text("?")])) == [
        {"role": "user", "content": [text("Hi"), text("there"), text("?")]}
    ]


def test_results_of_one_turns_calls_come_in_one_message_and_first() -> None:
    turns = [
        HI,
        Turn("assistant", [ToolCall("a", "grep", '{"q":1}'), ToolCall("b", "ls", "")]),
        Turn("user", [ToolResult("a", [Text("1")])]),
        Turn("user", [Text("and")]),
        Turn("user", [ToolResult("b", [Text("2")], is_error=True)]),
    ]
    assert messages(*turns)[1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "a", "name": "grep", "input": {"q": 1}},
                {"type": "tool_use", "id": "b", "name": "ls", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "1"},
                {"type": "tool_result", "tool_use_id": "b", "content": "2", "is_error": True},
                text("and"),
            ],
        },
    ]


def test_a_result_that_comes_late_moves_to_its_call() -> None:
    turns = [
        HI,
        Turn("assistant", [ToolCall("a", "grep", ""), ToolCall("b", "ls", "")]),
        Turn("user", [ToolResult("a", [Text("1")])]),
        Turn("assistant", [Text("Wait.")]),
        Turn("user", [ToolResult("b", [Text("2")])]),
    ]
    assert [[block["type"] for block in message["content"]] for message in messages(*turns)] == [
        ["text"],
        ["tool_use", "tool_use"],
        ["tool_result", "tool_result"],
        ["text"],
    ]


def test_arguments_that_are_no_object_are_wrapped_and_ids_made_fit() -> None:
    turns = [
        HI,
        Turn("assistant", [ToolCall("functions.grep:0", "mcp.grep", '{"a": ')]),
        Turn("user", [ToolResult("functions.grep:0", [])]),
    ]
    [_, calls, results] = messages(*turns)
    [call] = calls["content"]
    assert call["input"] == {"INVALID_JSON": '{"a": '}
    assert call["id"] == results["content"][0]["tool_use_id"] != "functions.grep:0"
    assert call["name"].startswith("mcp_grep_")


def test_a_free_text_call_is_one_of_the_function_that_stands_for_its_tool() -> None:
    turn = Turn("assistant", [ToolCall("a", "patch", "*** Begin", is_custom=True)])
    conversation = asked(HI, turn, Turn("user", [ToolResult("a", [])]), tools=[Tool("patch", is_custom=True)])
    body = sent(conversation)
    assert body["messages"][1]["content"][0]["input"] == {"input": "*** Begin"}
    assert body["tools"][0]["input_schema"]["required"] == ["input"]
    assert conversation.sent["patch"].is_custom


def test_only_what_anthropic_sealed_goes_to_anthropic() -> None:
    turn = Turn(
        "assistant",
        [
            Thinking("a", Seal("anthropic", "signature", "EqQB")),
            Thinking("b", Seal("openai", "encrypted", "gAAA")),
            Thinking("c"),
            Thinking(seal=Seal("anthropic", "encrypted", "EmwK")),
            Text("So."),
        ],
        "messages[1]",
    )
    conversation = asked(HI, turn)
    assert sent(conversation)["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "a", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "EmwK"},
        text("So."),
    ]
    assert conversation.adapted == ["messages[1] reasoning: left out"]


def test_a_thought_that_led_to_nothing_ends_no_message() -> None:
    turn = Turn("assistant", [Text("So."), Thinking("a", Seal("anthropic", "signature", "EqQB"))])
    assert messages(HI, turn, HI)[1]["content"] == [text("So.")]


def test_a_begun_answer_ends_without_white_space_and_a_refusal_is_text() -> None:
    assert messages(HI, Turn("assistant", [Refusal("No. ")]))[1]["content"] == [text("No.")]


def test_files_become_blocks() -> None:
    parts: list[Part] = [
        Image("image/png", "iVBO", detail="high"),
        Image(url="https://example.com/a.png"),
        Document("application/pdf", "JVBE", name="a.pdf", context="c", wants_citations=True, cache=CacheMark()),
        Document("text/csv", "YSxi"),
        Document(text="words"),
    ]
    conversation = asked(Turn("user", parts, "messages[0]"))
    assert sent(conversation)["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
            "title": "a.pdf",
            "context": "c",
            "citations": {"enabled": True},
            "cache_control": {"type": "ephemeral"},
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a,b"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
    ]
    assert conversation.adapted == ["messages[0] image detail: left out"]


def test_images_in_results_stay_there() -> None:
    result = ToolResult("a", [Text("see", CacheMark()), Image("image/png", "iVBO")])
    [block] = messages(HI, Turn("assistant", [ToolCall("a", "f", "")]), Turn("user", [result]))[2]["content"]
    assert [part["type"] for part in block["content"]] == ["text", "image"]
    assert block["cache_control"] == {"type": "ephemeral"}


def test_an_image_in_an_answer_cannot_be_said() -> None:
    with pytest.raises(UnsupportedField) as refused:
        messages(HI, Turn("assistant", [Image("image/png", "iVBO")], "messages[1]"))
    assert refused.value.param == "messages[1]"


def test_instructions_alone_are_what_there_is_to_answer() -> None:
    conversation = asked(Turn("system", [Text("Say hi.")]))
    body = sent(conversation)
    assert "system" not in body
    assert body["messages"] == [{"role": "user", "content": [text("Say hi.")]}]
    assert conversation.adapted == ["the last system message: sent as the user's"]


def test_nothing_to_answer_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        messages(Turn("user", [Text(" ")], "messages[0]"))
    assert refused.value.param == "messages[0]"


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
    body = sent(conversation)
    assert (body["temperature"], body["top_k"], body["metadata"]) == (1, 9, {"user_id": "u1"})
    assert conversation.adapted == ["seed: left out", "temperature: 1.4 -> 1"]
    thinking = asked(tuning=Tuning(temperature=0.2, top_p=0.5, top_k=9), reasoning=Reasoning(effort="low"))
    assert not {"temperature", "top_p", "top_k"} & sent(thinking).keys()
    assert thinking.adapted == ["temperature: left out", "top_p: left out", "top_k: left out"]


def test_of_temperature_and_top_p_newer_models_get_the_one_that_says_something() -> None:
    conversation = asked(tuning=Tuning(temperature=0.2, top_p=0.5))
    assert "top_p" not in sent(conversation)
    assert conversation.adapted == ["top_p: left out"]
    assert sent(asked(tuning=Tuning(temperature=1, top_p=0.5)))["top_p"] == 0.5
    assert sent(asked(tuning=Tuning(temperature=0.2, top_p=0.5)), "claude-3-5-haiku")["top_p"] == 0.5


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
    assert "cache_control" not in body["tools"][0]
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
