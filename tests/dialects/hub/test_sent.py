"""Tools travel under names that the upstream takes, and come back under their own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apps.dialects.hub.answer import Answer, Choice, Ending
from apps.dialects.hub.conversation import Conversation, Text, Tool, ToolCall
from apps.dialects.hub.events import BlockBegin, BlockEnd, Delta, Ended
from apps.dialects.hub.sent import Restorer, plain_name, restore_answer, tool_to_send
from tests.dialects.bodies import relaxed


@relaxed
@given(st.text(max_size=200), st.sampled_from([64, 128]))
def test_a_plain_name_is_always_one_that_providers_take(name: str, most: int) -> None:
    plain = plain_name(name, most=most)
    assert 1 <= len(plain) <= most
    assert all(char.isascii() and (char.isalnum() or char in "_-") for char in plain)
    assert plain_name(plain, most=most) == plain


def test_names_that_differ_stay_different() -> None:
    assert plain_name("a.b", most=64) != plain_name("a/b", most=64)
    assert plain_name("grep", most=64) == "grep"


def test_a_renamed_tool_comes_back_under_its_own_name() -> None:
    asked = Conversation([])
    sent = tool_to_send(asked, Tool("mcp.search"), most_chars=64)
    assert sent.name == plain_name("mcp.search", most=64) != "mcp.search"
    answer = Answer("1", [Choice([ToolCall("c1", sent.name, '{"q":1}'), ToolCall("c2", "other", "")], Ending("tools"))])
    assert restore_answer(answer, asked).choices[0].parts == [
        ToolCall("c1", "mcp.search", '{"q":1}'),
        ToolCall("c2", "other", ""),
    ]


def test_a_free_text_tool_comes_back_as_its_text_once_that_is_whole() -> None:
    asked = Conversation([])
    assert tool_to_send(asked, Tool("patch", is_custom=True), most_chars=64).is_custom is False
    restored = Restorer(asked).restore(
        [
            BlockBegin(0, "tool_call", id="c1", name="patch"),
            Delta(0, '{"input":'),
            Delta(0, '"*** Begin"}'),
            BlockEnd(0),
        ]
    )
    assert list(restored) == [
        BlockBegin(0, "tool_call", id="c1", name="patch", is_custom=True),
        Delta(0, "*** Begin"),
        BlockEnd(0),
    ]


def test_a_tool_that_stands_for_the_answer_comes_back_as_text() -> None:
    asked = Conversation([], answer_tool="json")
    restored = Restorer(asked).restore(
        [BlockBegin(0, "tool_call", name="json"), Delta(0, '{"a":1}'), BlockEnd(0), Ended(Ending("tools"))]
    )
    assert list(restored) == [BlockBegin(0, "text"), Delta(0, '{"a":1}'), BlockEnd(0), Ended(Ending("end"))]
    plain = Answer("1", [Choice([ToolCall("c", "json", '{"a":1}')], Ending("tools"))])
    assert restore_answer(plain, asked).choices == [Choice([Text('{"a":1}')], Ending("end"))]


def test_an_answer_without_arguments_is_an_empty_object() -> None:
    asked = Conversation([], answer_tool="json")
    restored = Restorer(asked).restore([BlockBegin(0, "tool_call", name="json"), BlockEnd(0)])
    assert list(restored) == [BlockBegin(0, "text"), Delta(0, "{}"), BlockEnd(0)]
