"""The turns of a conversation as messages: where each part goes, and what cannot be said."""

from __future__ import annotations

import pytest

from apps.dialects.hub.conversation import (
    CacheMark,
    Document,
    Image,
    Part,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)
from apps.dialects.hub.reasoning import Seal
from apps.dialects.protocol import InvalidRequest, UnsupportedField
from tests.dialects.anthropic_messages.asking import HI, asked, messages, sent, text


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
    assert conversation.adapted == ["reasoning of another provider: left out"]


def test_a_thought_that_led_to_nothing_ends_no_message() -> None:
    turn = Turn("assistant", [Text("So."), Thinking("a", Seal("anthropic", "signature", "EqQB"))])
    assert messages(HI, turn, HI)[1]["content"] == [text("So.")]


def test_a_begun_answer_ends_without_white_space_and_a_refusal_is_text() -> None:
    assert messages(HI, Turn("assistant", [Refusal("No. ")]))[1]["content"] == [text("No.")]


def test_files_become_blocks() -> None:
    parts: list[Part] = [
        Image("image/png", "iVBO", detail="high"),
        Image("image/jpg", "/9j/"),
        Image(url="https://example.com/a.png"),
        Document("application/pdf", "JVBE", name="a.pdf", context="c", wants_citations=True, cache=CacheMark()),
        Document("text/csv", "YSxi"),
        Document(text="words"),
    ]
    conversation = asked(Turn("user", parts, "messages[0]"))
    assert sent(conversation)["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"}},
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
