"""A Messages stream on its way: everything from `message_delta` on waits for the settlement."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import GatewayError
from apps.core.tokens import TokenUsage
from apps.dialects.protocol import StreamRelay
from apps.dialects.registry import BY_ENDPOINT
from tests.dialects.bodies import assert_same_however_cut, events_of, parse, relaxed, run, size_of, typed

BILLING = b'{"billing":{"credits_charged":12}}'
SHOWN = {"billing": {"credits_charged": 12}}


def relay(model_id: str | None = "claude-sonnet-4-7") -> StreamRelay:
    return BY_ENDPOINT["messages"].relay(parse("messages", stream=True), model_id=model_id)


def delta(index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": fields}


START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-7-20260901",
        "content": [],
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 2_070,
            "cache_creation": {"ephemeral_5m_input_tokens": 14, "ephemeral_1h_input_tokens": 2_056},
            "output_tokens": 1,
        },
    },
}
OPEN = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
PING = {"type": "ping"}
TEXT = delta(type="text_delta", text="Hello")
CLOSE = {"type": "content_block_stop", "index": 0}
DELTA = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"input_tokens": 12, "cache_creation_input_tokens": 2_100, "output_tokens": 15},
}
STOP = {"type": "message_stop"}
STREAM = (START, OPEN, PING, TEXT, CLOSE, DELTA, STOP)


def test_a_stream_passes_up_to_its_end() -> None:
    machine = relay()
    out = events_of(machine.feed(typed(*STREAM)))
    assert [event["type"] for event in out] == [event["type"] for event in STREAM[:5]]
    assert out[0]["message"]["model"] == "claude-sonnet-4-7"
    assert out[0]["message"]["usage"] == START["message"]["usage"]  # type: ignore[index]
    state = machine.state
    assert (state.is_withholding, state.is_complete, state.failure, size_of(state.said)) == (True, True, None, 5)
    assert state.usage == TokenUsage(input=12, cache_write_5m=44, cache_write_1h=2_056, output=15)
    rest = machine.finish(BILLING)
    assert events_of(rest) == [{**DELTA, "hypereal": SHOWN}, STOP]
    assert rest.startswith(b"event: message_delta\ndata: ")


def test_what_needs_no_change_travels_byte_by_byte() -> None:
    raw = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"text":"a"}}     \n\n'
    assert relay().feed(raw) == raw
    start = typed(START)
    assert relay(model_id=None).feed(start) == start


def test_usage_that_came_with_the_start_is_known_at_once() -> None:
    machine = relay()
    machine.feed(typed(START))
    # The output counted there is provisional: no count at all.
    assert machine.state.usage == TokenUsage(input=10, cache_write_5m=14, cache_write_1h=2_056)
    assert not machine.state.counts_output


def test_a_stream_whose_end_counts_nothing_has_no_output_count() -> None:
    machine = relay()
    machine.feed(typed(*STREAM[:5], {**DELTA, "usage": None}, STOP))
    assert (machine.state.is_complete, machine.state.counts_output) == (True, False)


def test_old_streams_report_only_their_output_at_the_end() -> None:
    machine = relay()
    machine.feed(typed(*STREAM[:5], {**DELTA, "usage": {"output_tokens": 15}}, STOP))
    assert machine.state.usage == TokenUsage(input=10, cache_write_5m=14, cache_write_1h=2_056, output=15)


def test_the_bill_is_in_the_last_delta_where_there_are_several() -> None:
    machine = relay()
    machine.feed(typed(*STREAM[:5], {**DELTA, "usage": None}, PING, DELTA, STOP))
    first, last, stop = events_of(machine.finish(BILLING))
    assert "hypereal" not in first
    assert last["hypereal"] == SHOWN
    assert stop == STOP


def test_bytes_are_counted_on_the_way_out() -> None:
    machine = relay()
    out = machine.feed(typed(*STREAM)) + machine.finish(BILLING)
    assert machine.state.relayed_bytes == len(out)


@pytest.mark.parametrize("upto", range(len(STREAM)))
def test_a_stream_that_ends_early_is_not_complete(upto: int) -> None:
    machine = relay()
    run(machine, [typed(*STREAM[:upto])])
    assert not machine.state.is_complete


@pytest.mark.parametrize(
    ("kind", "is_overload"), [("overloaded_error", True), ("rate_limit_error", True), ("api_error", False)]
)
def test_an_error_event_is_a_failure(kind: str, is_overload: bool) -> None:
    error = {"type": "error", "error": {"details": None, "type": kind, "message": "Overloaded"}, "request_id": "req_9"}
    machine = relay()
    out = events_of(machine.feed(typed(START, OPEN, TEXT, error, DELTA, STOP)))
    assert [event["type"] for event in out] == ["message_start", "content_block_start", "content_block_delta"]
    assert (machine.state.failure, machine.state.failure_is_overload) == ("Overloaded", is_overload)
    assert not machine.state.is_complete
    assert machine.state.usage is not None
    assert machine.state.usage.input == 10


def test_a_stream_that_we_cut_reads_like_one_at_its_maximum() -> None:
    machine = relay()
    machine.feed(typed(START, OPEN, TEXT))
    machine.state.usage = TokenUsage(input=10, cache_write_1h=2_056, output=40)
    assert events_of(machine.finish(BILLING)) == [
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
            "usage": {
                "input_tokens": 10,
                "cache_creation_input_tokens": 2_056,
                "cache_read_input_tokens": 0,
                "output_tokens": 40,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 2_056},
            },
            "hypereal": SHOWN,
        },
        {"type": "message_stop"},
    ]


def test_a_stream_that_we_cut_at_the_very_end_keeps_its_own_reason() -> None:
    machine = relay()
    machine.feed(typed(*STREAM[:6]))
    assert events_of(machine.finish(BILLING)) == [{**DELTA, "hypereal": SHOWN}, {"type": "message_stop"}]


def test_unknown_events_pass() -> None:
    machine = relay()
    event = {"type": "hologram", "depth": 3}
    assert events_of(machine.feed(typed(event))) == [event]


@pytest.mark.parametrize("data", ["junk", "[1]", '{"type": 5}', '{"type": "message_start"}', '{"delta": 5}'])
def test_what_cannot_be_read_is_a_failure(data: str) -> None:
    machine = relay()
    assert machine.feed(f"event: message_start\ndata: {data}\n\n".encode()) == b""
    assert machine.state.failure == "The upstream sent an event that cannot be read."


@pytest.mark.parametrize(
    ("events", "size"),
    [
        ((delta(type="text_delta", text="é"),), 2),
        ((delta(type="input_json_delta", partial_json='{"a":1}'),), 7),
        ((delta(type="thinking_delta", thinking="abc"), delta(type="signature_delta", signature="sigsig")), 3),
        ((delta(type="signature_delta", signature="sigsig"),), 6),
        ((delta(type="citations_delta", citation={"cited_text": "x"}),), 0),
        (({**OPEN, "content_block": {"type": "redacted_thinking", "data": "abcdef"}},), 6),
        (({**OPEN, "content_block": {"type": "tool_use", "id": "t", "name": "find", "input": {}}},), 4),
    ],
)
def test_what_a_stream_says_is_measured_in_bytes(events: tuple[dict[str, Any], ...], size: int) -> None:
    machine = relay()
    machine.feed(typed(*events))
    assert size_of(machine.state.said) == size


def test_a_failed_stream_ends_with_an_error_event() -> None:
    raw = relay().fail(GatewayError("upstream_overloaded", "Busy."), request_id="req_1")
    assert raw.startswith(b"event: error\n")
    assert events_of(raw) == [
        {
            "type": "error",
            "error": {"type": "overloaded_error", "message": "Busy.", "code": "upstream_overloaded"},
            "request_id": "req_1",
        }
    ]


def test_a_ping_is_the_dialects_own() -> None:
    assert relay().ping() == b'event: ping\ndata: {"type": "ping"}\n\n'


@relaxed
@given(cuts=st.lists(st.integers(0, 2_000), max_size=12))
def test_cuts_make_no_difference(cuts: list[int]) -> None:
    assert_same_however_cut(relay, typed(*STREAM).replace(b"\n", b"\r\n"), cuts)


@relaxed
@given(data=st.lists(st.binary(max_size=60) | st.sampled_from([typed(event) for event in STREAM]), max_size=8))
def test_whatever_comes_nothing_is_raised(data: list[bytes]) -> None:
    machine = relay()
    run(machine, data)
    machine.finish(BILLING)
