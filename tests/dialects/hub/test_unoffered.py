"""A provider's own free-text calls become function calls for callers who never offered such a tool."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from apps.dialects.hub.answer import Answer, Choice, Ending
from apps.dialects.hub.conversation import Conversation, Tool, ToolCall
from apps.dialects.hub.events import BlockBegin, BlockEnd, Delta, HubEvent
from apps.dialects.hub.unoffered import Wrapper, as_functions
from tests.dialects.bodies import relaxed

PATCHES = Conversation([], tools=[Tool("patch", is_custom=True), Tool("search")])


def test_a_call_that_nobody_offered_is_a_functions() -> None:
    parts = [ToolCall("c1", "search", "from:me", is_custom=True), ToolCall("c2", "patch", "*** Begin", is_custom=True)]
    answer = as_functions(Answer("a", [Choice([*parts], Ending("tools"))]), PATCHES)
    assert answer.choices[0].parts == [ToolCall("c1", "search", '{"input":"from:me"}'), parts[1]]


def test_streams_interleave() -> None:
    wrapper = Wrapper(PATCHES)
    events: list[HubEvent] = [
        BlockBegin(0, "tool_call", 0, "c1", "search", is_custom=True),
        BlockBegin(1, "tool_call", 0, "c2", "patch", is_custom=True),
        Delta(0, 'a "'),
        Delta(1, "*** Begin"),
        Delta(0, 'b"\n'),
        BlockEnd(1),
        BlockEnd(0),
    ]
    out = [wrapped for event in events for wrapped in wrapper.wrap([event])]
    assert out[0] == BlockBegin(0, "tool_call", 0, "c1", "search")
    assert BlockBegin(1, "tool_call", 0, "c2", "patch", is_custom=True) in out
    pieces = {block: "".join(e.text for e in out if isinstance(e, Delta) and e.block == block) for block in (0, 1)}
    assert pieces[1] == "*** Begin"
    assert json.loads(pieces[0]) == {"input": 'a "b"\n'}
    assert wrapper.open == set()


@relaxed
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_any_text_in_any_pieces_is_json_at_the_end(pieces: list[str]) -> None:
    wrapper = Wrapper(Conversation([]))
    events: list[HubEvent] = [BlockBegin(0, "tool_call", 0, "c1", "search", is_custom=True)]
    events += [Delta(0, piece) for piece in pieces]
    out = wrapper.wrap([*events, BlockEnd(0)])
    text = "".join(event.text for event in out if isinstance(event, Delta))
    assert json.loads(text) == {"input": "".join(pieces)}
