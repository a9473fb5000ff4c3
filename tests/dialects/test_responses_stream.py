"""A Responses stream on its way: its terminal event waits for the settlement."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import GatewayError
from apps.core.tokens import TokenUsage
from apps.dialects.protocol import StreamRelay
from apps.dialects.registry import BY_ENDPOINT
from tests.dialects.bodies import assert_same_however_cut, events_of, frames, parse, relaxed, run, size_of, typed

BILLING = b'{"billing":{"credits_charged":12}}'
SHOWN = {"billing": {"credits_charged": 12}}
USAGE = {"input_tokens": 12, "output_tokens": 5, "total_tokens": 17}
METERED = TokenUsage(input=12, output=5)


def relay(model_id: str | None = "gpt-5-5") -> StreamRelay:
    return BY_ENDPOINT["responses"].relay(parse("responses", stream=True), model_id=model_id)


def numbered(*events: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    return tuple({**event, "sequence_number": number} for number, event in enumerate(events))


def response(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "model": "gpt-5.5-2026-04", "status": status, "output": [], **more}


ITEM = {"id": "msg_1", "type": "message", "content": [{"type": "output_text", "text": "Hello"}]}
STREAM = numbered(
    {"type": "response.created", "response": response("in_progress")},
    {"type": "response.in_progress", "response": response("in_progress")},
    {"type": "response.output_item.added", "output_index": 0, "item": {"id": "msg_1"}},
    {"type": "response.output_text.delta", "delta": "Hello", "obfuscation": "xyz"},
    {"type": "response.output_text.done", "text": "Hello"},
    {"type": "response.output_item.done", "output_index": 0, "item": ITEM},
    {"type": "response.completed", "response": response("completed", output=[ITEM], usage=USAGE)},
)


def test_a_stream_passes_up_to_its_end() -> None:
    machine = relay()
    out = events_of(machine.feed(typed(*STREAM)))
    assert [event["type"] for event in out] == [event["type"] for event in STREAM[:6]]
    assert [event["response"]["model"] for event in out[:2]] == ["gpt-5-5", "gpt-5-5"]
    assert out[2:] == list(STREAM[2:6])
    state = machine.state
    assert (state.usage, size_of(state.said), state.is_withholding, state.is_complete) == (METERED, 5, True, True)
    rest = machine.finish(BILLING)
    (event,) = events_of(rest)
    assert rest.startswith(b"event: response.completed\ndata: ")
    assert event["response"] == {**STREAM[6]["response"], "model": "gpt-5-5", "hypereal": SHOWN}
    assert event["sequence_number"] == 6


def test_what_needs_no_change_travels_byte_by_byte() -> None:
    raw = b'event: response.output_text.delta\ndata: {"type" : "response.output_text.delta","delta":"a"}\n\n'
    assert relay().feed(raw) == raw
    created = typed(STREAM[0])
    assert relay(model_id=None).feed(created) == created


def test_bytes_are_counted_on_the_way_out() -> None:
    machine = relay()
    out = machine.feed(typed(*STREAM)) + machine.finish(BILLING)
    assert machine.state.relayed_bytes == len(out)


def test_an_incomplete_response_is_billed() -> None:
    machine = relay()
    incomplete = {"type": "response.incomplete", "response": response("incomplete", usage=USAGE)}
    machine.feed(typed(*STREAM[:4], incomplete))
    assert (machine.state.is_complete, machine.state.failure, machine.state.usage) == (True, None, METERED)
    (event,) = events_of(machine.finish(BILLING))
    assert (event["type"], event["response"]["hypereal"]) == ("response.incomplete", SHOWN)


@pytest.mark.parametrize("usage", [{}, {"usage": None}])
def test_a_terminal_event_without_usage_leaves_it_unknown(usage: dict[str, Any]) -> None:
    machine = relay()
    machine.feed(typed({"type": "response.completed", "response": response("completed", **usage)}))
    assert (machine.state.is_complete, machine.state.usage) == (True, None)


def failed(**error: str) -> dict[str, Any]:
    return {"type": "response.failed", "response": response("failed", error={"message": "Bang", **error})}


FAILURES = [
    (failed(code="server_error"), False),
    (failed(code="rate_limit_exceeded"), True),
    ({"type": "error", "code": "server_is_overloaded", "message": "Bang", "param": None}, True),
    ({"type": "error", "error": {"type": "insufficient_quota", "message": "Bang"}}, False),
    ({"type": "response.cancelled", "response": response("cancelled", error={"message": "Bang"})}, False),
    ({"error": {"message": "Bang"}}, False),
]


@pytest.mark.parametrize(("event", "is_overload"), FAILURES)
def test_failures_are_not_billed(event: dict[str, Any], is_overload: bool) -> None:
    machine = relay()
    out = machine.feed(typed(*STREAM[:4]) + frames(event) + typed(STREAM[6]))
    assert len(events_of(out)) == 4
    state = machine.state
    assert (state.failure, state.failure_is_overload, state.is_complete) == ("Bang", is_overload, False)


def test_a_failure_without_a_message_is_still_one() -> None:
    machine = relay()
    machine.feed(typed({"type": "response.failed", "response": response("failed", error=None)}))
    assert machine.state.failure == "The upstream ended the stream with an error."


def test_events_without_names_are_known_by_their_type() -> None:
    machine = relay()
    assert len(events_of(machine.feed(frames(*STREAM, "[DONE]")))) == 6
    assert machine.state.is_complete
    assert machine.finish(BILLING).startswith(b'data: {"type":"response.completed"')


def test_events_without_a_type_are_known_by_their_name() -> None:
    machine = relay()
    machine.feed(frames(("response.completed", {"response": response("completed", usage=USAGE)})))
    assert machine.state.is_complete


@pytest.mark.parametrize("upto", range(len(STREAM)))
def test_a_stream_that_ends_early_is_not_complete(upto: int) -> None:
    machine = relay()
    run(machine, [typed(*STREAM[:upto]), b"data: [DONE]\n\n"])
    assert not machine.state.is_complete
    assert machine.state.failure is None


def test_hidden_reasoning_is_measured_by_its_encrypted_form() -> None:
    machine = relay()
    item = {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA123"}
    machine.feed(typed({"type": "response.output_item.done", "item": item}))
    assert size_of(machine.state.said) == 8


def test_a_stream_that_we_cut_reads_like_one_at_its_maximum() -> None:
    machine = relay()
    machine.feed(typed(*STREAM[:6]))
    machine.state.usage = METERED
    (event,) = events_of(machine.finish(BILLING))
    assert (event["type"], event["sequence_number"]) == ("response.incomplete", 6)
    shown = event["response"]
    assert (shown["id"], shown["model"], shown["status"]) == ("resp_1", "gpt-5-5", "incomplete")
    assert shown["incomplete_details"] == {"reason": "max_output_tokens"}
    assert (shown["output"], shown["usage"]["total_tokens"], shown["hypereal"]) == ([ITEM], 17, SHOWN)


def test_a_failed_stream_ends_with_both_events_that_clients_wait_for() -> None:
    machine = relay()
    machine.feed(typed(*STREAM[:3]))
    error, end = events_of(machine.fail(GatewayError("upstream_error", "It broke."), request_id="req_1"))
    assert (error["type"], error["code"], error["message"], error["sequence_number"]) == (
        "error",
        "upstream_error",
        "It broke.",
        3,
    )
    assert error["error"]["type"] == "server_error"
    assert (end["type"], end["sequence_number"]) == ("response.failed", 4)
    assert (end["response"]["id"], end["response"]["status"]) == ("resp_1", "failed")
    assert end["response"]["error"] == {"code": "upstream_error", "message": "It broke."}


def test_a_stream_that_failed_before_it_began_ends_alike() -> None:
    _, end = events_of(relay().fail(GatewayError("upstream_timeout", "Late."), request_id="req_1"))
    assert end["response"]["status"] == "failed"
    assert end["response"]["output"] == []


@pytest.mark.parametrize("data", ["junk", "[1]", '{"type": "response.created"}', '{"type": 5}'])
def test_what_cannot_be_read_is_a_failure(data: str) -> None:
    machine = relay()
    assert machine.feed(f"data: {data}\n\n".encode()) == b""
    assert machine.state.failure == "The upstream sent an event that cannot be read."


@relaxed
@given(cuts=st.lists(st.integers(0, 2_000), max_size=12))
def test_cuts_make_no_difference(cuts: list[int]) -> None:
    assert_same_however_cut(relay, typed(*STREAM), cuts)


@relaxed
@given(data=st.lists(st.binary(max_size=60) | st.sampled_from([typed(event) for event in STREAM]), max_size=8))
def test_whatever_comes_nothing_is_raised(data: list[bytes]) -> None:
    machine = relay()
    run(machine, data)
    machine.finish(BILLING)


def test_the_cache_key_comes_back_as_the_caller_knows_it() -> None:
    """What is sent upstream begins with the account."""
    key = "0123456789abcdef0123456789abcdef:thread-7"
    created = {"type": "response.created", "sequence_number": 0, "response": {"id": "r", "prompt_cache_key": key}}
    ended = {"type": "response.completed", "sequence_number": 1,
             "response": {"id": "r", "prompt_cache_key": key, "output": [], "status": "completed"}}  # fmt: skip
    machine = relay()
    sent = events_of(machine.feed(frames(created, ended)) + machine.finish(BILLING))
    assert [event["response"]["prompt_cache_key"] for event in sent] == ["thread-7", "thread-7"]
    plain = json.dumps({"id": "r", "prompt_cache_key": key, "output": []}).encode()
    shown = json.loads(BY_ENDPOINT["responses"].render_reply(plain, model_id="m", hypereal=b"{}"))
    assert (shown["prompt_cache_key"], shown["model"]) == ("thread-7", "m")
    for other in ("thread-7", "0123:7", None):
        plain = json.dumps({"id": "r", "prompt_cache_key": other, "output": []}).encode()
        shown = json.loads(BY_ENDPOINT["responses"].render_reply(plain, model_id=None, hypereal=b"{}"))
        assert shown["prompt_cache_key"] == other
