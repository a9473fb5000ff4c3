"""An upstream's Messages stream, as the hub's events."""

from __future__ import annotations

from typing import Any

import pytest

from apps.core.tokens import TokenUsage
from apps.dialects.anthropic_messages.events import MessagesReader
from apps.dialects.hub.answer import Ending
from apps.dialects.hub.conversation import Text, Thinking, ToolCall
from apps.dialects.hub.reasoning import Seal
from tests.dialects.bodies import typed
from tests.dialects.hub.streams import Collector, read_stream

START = {
    "type": "message_start",
    "message": {"id": "msg_1", "usage": {"input_tokens": 10, "cache_read_input_tokens": 4, "output_tokens": 1}},
}
PING = {"type": "ping"}
STOP = {"type": "message_stop"}


def begin(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": fields}


def end(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def closing(reason: str = "end_turn", **usage: Any) -> dict[str, Any]:
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": None},
        "usage": {"output_tokens": 9, **usage},
    }


def read(*events: dict[str, Any]) -> Collector:
    return read_stream(MessagesReader(), typed(START, *events))


def parts_of(*events: dict[str, Any]) -> Any:
    return read(*events, closing(), STOP).collected().choices[0].parts


def test_a_stream_is_the_answer_that_it_spells() -> None:
    collector = read(
        begin(0, type="text", text=""),
        PING,
        delta(0, type="text_delta", text="Hel"),
        {"type": "something_new", "index": 0},
        delta(0, type="text_delta", text="lo"),
        delta(0, type="something_delta", words="x"),
        end(0),
        begin(1, type="tool_use", id="toolu_1", name="grep", input={}),
        delta(1, type="input_json_delta", partial_json=""),
        delta(1, type="input_json_delta", partial_json='{"q"'),
        delta(1, type="input_json_delta", partial_json=":1}"),
        end(1),
        closing("tool_use"),
        STOP,
    )
    answer = collector.collected()
    assert answer.choices[0].parts == [Text("Hello"), ToolCall("toolu_1", "grep", '{"q":1}')]
    assert answer.choices[0].ending == Ending("tools", native="tool_use")
    assert answer.usage == TokenUsage(input=10, cache_read=4, output=9)
    assert collector.is_done


def test_thinking_keeps_its_signature_also_where_it_is_not_shown() -> None:
    thinking = begin(0, type="thinking", thinking="", signature="")
    signature = delta(0, type="signature_delta", signature="EqQB")
    seal = Seal("anthropic", "signature", "EqQB")
    assert parts_of(thinking, delta(0, type="thinking_delta", thinking="hm"), signature, end(0)) == [
        Thinking("hm", seal)
    ]
    assert parts_of(thinking, signature, end(0)) == [Thinking("", seal)]
    assert parts_of(begin(0, type="redacted_thinking", data="EmwK"), end(0)) == [
        Thinking(seal=Seal("anthropic", "encrypted", "EmwK"))
    ]


def test_a_call_without_arguments_has_none() -> None:
    assert parts_of(begin(0, type="tool_use", id="t", name="ls", input={}), end(0)) == [ToolCall("t", "ls", "")]


def test_what_stands_in_a_blocks_start_counts_too() -> None:
    assert parts_of(
        begin(0, type="text", text="Hi"),
        end(0),
        begin(1, type="tool_use", id="t", name="grep", input={"q": 1}),
        end(1),
        begin(2, type="tool_use", id="u", name="grep", input={"q": 1}),
        delta(2, type="input_json_delta", partial_json='{"q":2}'),
        end(2),
    ) == [Text("Hi"), ToolCall("t", "grep", '{"q": 1}'), ToolCall("u", "grep", '{"q":2}')]


def test_hosted_tools_are_left_out_whole() -> None:
    assert parts_of(
        begin(0, type="server_tool_use", id="s", name="web_search", input={}),
        delta(0, type="input_json_delta", partial_json='{"query":"x"}'),
        end(0),
        begin(1, type="web_search_tool_result", tool_use_id="s", content=[{"type": "web_search_result"}]),
        end(1),
        begin(2, type="text", text=""),
        delta(2, type="text_delta", text="Hi"),
        delta(2, type="citations_delta", citation={"type": "web_search_result_location"}),
        end(2),
    ) == [Text("Hi")]


def test_the_last_count_of_each_kind_is_the_count() -> None:
    answer = read(closing(input_tokens=1595, cache_read_input_tokens=None), STOP).collected()
    assert answer.usage == TokenUsage(input=1595, cache_read=4, output=9)


def test_several_message_deltas_end_the_answer_once() -> None:
    answer = read(closing("end_turn"), closing("max_tokens", output_tokens=12), STOP).collected()
    assert answer.choices[0].ending == Ending("end", native="end_turn")
    assert answer.usage == TokenUsage(input=10, cache_read=4, output=12)


@pytest.mark.parametrize(
    ("error", "is_overload"),
    [({"type": "overloaded_error", "message": "Overloaded"}, True), ({"type": "api_error", "message": "No"}, False)],
)
def test_an_error_event_is_a_failure(error: dict[str, Any], is_overload: bool) -> None:
    collector = read(begin(0, type="text", text=""), {"type": "error", "error": error}, STOP)
    assert collector.failure is not None
    assert (collector.failure.message, collector.failure.is_overload) == (error["message"], is_overload)
    assert not collector.is_done


def test_a_stream_that_stops_in_its_middle_is_not_complete() -> None:
    assert not read(begin(0, type="text", text=""), end(0), closing()).is_done


def test_events_are_known_by_their_type_where_they_have_no_name() -> None:
    text = (begin(0, type="text", text=""), delta(0, type="text_delta", text="Hi"), end(0))
    stream = typed(START, *text, closing(), STOP)
    nameless = b"\n".join(line for line in stream.split(b"\n") if not line.startswith(b"event:"))
    assert read_stream(MessagesReader(), nameless).collected().choices[0].parts == [Text("Hi")]
