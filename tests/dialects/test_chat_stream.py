"""A chat stream on its way: the caller's model id, no unasked usage, nothing complete before it is paid for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import GatewayError
from apps.core.tokens import TokenUsage
from apps.dialects.openai_chat.stream import ChatRelay
from apps.dialects.registry import BY_ENDPOINT
from tests.dialects.bodies import assert_same_however_cut, events_of, frames, parse, relaxed, run, size_of

BILLING = b'{"billing":{"credits_charged":12}}'
SHOWN = {"billing": {"credits_charged": 12}}
USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
METERED = TokenUsage(input=12, output=5)


def chunk(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    envelope = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "gpt-5.5-2026-04"}
    return {**envelope, "choices": list(choices), **more}


def says(text: str, index: int = 0) -> dict[str, Any]:
    return {"index": index, "delta": {"content": text}, "finish_reason": None}


def ends(index: int = 0, reason: str = "stop") -> dict[str, Any]:
    return {"index": index, "delta": {}, "finish_reason": reason}


def relay(*, wants_usage: bool = False, model_id: str | None = "gpt-5-5", n: int = 1) -> ChatRelay:
    request = parse("chat", stream=True, stream_options={"include_usage": wants_usage}, n=n)
    made = BY_ENDPOINT["chat"].relay(request, model_id=model_id)
    assert isinstance(made, ChatRelay)
    return made


NATIVE = (
    chunk(says("Hel"), usage=None),
    chunk(says("lo"), usage=None),
    chunk(ends(), usage=None),
    chunk(usage=USAGE),
    "[DONE]",
)


def test_a_caller_who_did_not_ask_for_usage_sees_none() -> None:
    machine = relay()
    out = events_of(machine.feed(frames(*NATIVE)))
    assert [event["choices"][0]["delta"]["content"] for event in out] == ["Hel", "lo"]
    assert all(event["model"] == "gpt-5-5" and "usage" not in event for event in out)
    state = machine.state
    assert (state.usage, size_of(state.said), state.is_withholding, state.is_complete) == (METERED, 5, True, True)
    rest = events_of(machine.finish(BILLING))
    assert rest == [{**chunk(ends()), "model": "gpt-5-5", "hypereal": SHOWN}, "[DONE]"]


def test_a_caller_who_asked_finds_the_bill_in_the_usage_chunk() -> None:
    machine = relay(wants_usage=True)
    out = events_of(machine.feed(frames(*NATIVE)))
    assert [event["usage"] for event in out] == [None, None]
    finish, usage, done = events_of(machine.finish(BILLING))
    assert "hypereal" not in finish
    assert usage == {**chunk(usage=USAGE), "model": "gpt-5-5", "hypereal": SHOWN}
    assert done == "[DONE]"


def test_the_upstreams_own_name_may_be_shown() -> None:
    machine = relay(model_id=None)
    assert events_of(machine.feed(frames(*NATIVE)))[0]["model"] == "gpt-5.5-2026-04"


def test_nothing_of_the_end_is_out_before_finish() -> None:
    machine = relay()
    assert machine.feed(frames(NATIVE[2])) == b""
    assert machine.state.is_withholding
    assert not machine.state.is_complete
    assert machine.feed(frames(NATIVE[3])) == b""
    assert not machine.state.is_complete
    assert machine.feed(frames("[DONE]")) == b""
    assert machine.state.is_complete


def test_bytes_are_counted_on_the_way_out() -> None:
    machine = relay()
    out = machine.feed(frames(*NATIVE)) + machine.finish(BILLING)
    assert machine.state.relayed_bytes == len(out)


@pytest.mark.parametrize("wants_usage", [True, False])
def test_usage_on_the_finish_chunk(wants_usage: bool) -> None:
    machine = relay(wants_usage=wants_usage)
    run(machine, [frames(chunk(says("Hi")), chunk(ends(), usage=USAGE), "[DONE]")])
    assert machine.state.usage == METERED
    finish, done = events_of(machine.finish(BILLING))
    assert finish["hypereal"] == SHOWN
    assert ("usage" in finish) is wants_usage
    assert done == "[DONE]"


def test_usage_in_a_chunk_after_the_finish_with_a_choice() -> None:
    machine = relay(wants_usage=True)
    run(machine, [frames(chunk(says("Hi")), chunk(ends()), chunk(says(""), usage=USAGE), "[DONE]")])
    _, usage, _ = events_of(machine.finish(BILLING))
    assert (usage["usage"], usage["hypereal"]) == (USAGE, SHOWN)


@pytest.mark.parametrize(
    "last", [chunk({**ends(), "usage": USAGE}), chunk(ends(), x_groq={"id": "req_1", "usage": USAGE})]
)
def test_usage_in_other_places_is_metered_and_shown_where_it_belongs(last: dict[str, Any]) -> None:
    machine = relay(wants_usage=True)
    run(machine, [frames(chunk(says("Hi")), last, "[DONE]")])
    assert machine.state.usage == METERED
    _, usage, _ = events_of(machine.finish(BILLING))
    assert usage["choices"] == []
    assert usage["id"] == "chatcmpl-1"
    assert (usage["usage"]["prompt_tokens"], usage["usage"]["completion_tokens"]) == (12, 5)
    assert usage["hypereal"] == SHOWN


def test_the_last_usage_wins_and_is_never_a_sum() -> None:
    growing = [chunk(says("a"), usage={**USAGE, "completion_tokens": tokens}) for tokens in (1, 2, 3)]
    machine = relay()
    run(machine, [frames(*growing, chunk(ends(), usage=USAGE), chunk(usage=None), "[DONE]")])
    assert machine.state.usage == METERED


def test_an_asked_for_usage_chunk_is_made_where_the_upstream_sends_none() -> None:
    machine = relay(wants_usage=True)
    run(machine, [frames(chunk(says("Hi")), chunk(ends()), "[DONE]")])
    assert machine.state.usage is None
    machine.state.usage = TokenUsage(input=9, cache_read=3, output=5, reasoning=1)
    finish, usage, _ = events_of(machine.finish(BILLING))
    assert "hypereal" not in finish
    assert usage["model"] == "gpt-5-5"
    assert usage["usage"] == {
        "prompt_tokens": 12,
        "completion_tokens": 5,
        "total_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    assert usage["hypereal"] == SHOWN


def test_with_several_choices_only_their_ends_wait() -> None:
    machine = relay(n=2)
    stream = (chunk(says("a", 0)), chunk(ends(0)), chunk(says("b", 1)), chunk(ends(1)), chunk(usage=USAGE), "[DONE]")
    out = events_of(run(machine, [frames(*stream)]))
    assert [event["choices"][0]["delta"]["content"] for event in out] == ["a", "b"]
    assert machine.state.is_complete
    first, second, done = events_of(machine.finish(BILLING))
    assert "hypereal" not in first
    assert second["choices"][0]["index"] == 1
    assert second["hypereal"] == SHOWN
    assert done == "[DONE]"


def test_text_withheld_beside_another_choices_end_is_not_overtaken() -> None:
    machine = relay(n=2)
    assert machine.feed(frames(chunk(ends(0), says("b", 1)), chunk(says("c", 1)))) == b""
    run(machine, [frames(chunk(ends(1)), "[DONE]")])
    texts = [event["choices"][-1]["delta"].get("content") for event in events_of(machine.finish(BILLING))[:-1]]
    assert texts == ["b", "c", None]


def test_an_upstream_that_sends_no_done_is_complete_at_its_end() -> None:
    machine = relay()
    machine.feed(frames(chunk(says("Hi")), chunk(ends()), chunk(usage=USAGE)))
    assert not machine.state.is_complete
    assert machine.end() == b""
    assert machine.state.is_complete


def test_a_done_without_its_blank_line_counts_at_the_end() -> None:
    machine = relay()
    machine.feed(frames(chunk(ends())) + b"data: [DONE]")
    assert not machine.state.is_complete
    machine.end()
    assert machine.state.is_complete


@pytest.mark.parametrize("done", [(), ("[DONE]",)])
def test_a_stream_without_a_finish_is_never_complete(done: tuple[str, ...]) -> None:
    machine = relay()
    run(machine, [frames(chunk(says("Hi")), *done)])
    assert not machine.state.is_complete
    assert machine.state.failure is None


def test_one_choice_of_two_is_not_the_whole() -> None:
    machine = relay(n=2)
    run(machine, [frames(chunk(ends(0)))])
    assert not machine.state.is_complete


def test_a_stream_that_we_cut_reads_like_one_at_its_maximum() -> None:
    machine = relay(wants_usage=True)
    machine.feed(frames(chunk(says("Hi"))))
    machine.state.usage = METERED
    finish, usage, done = events_of(machine.finish(BILLING))
    assert finish["choices"] == [{"index": 0, "delta": {}, "finish_reason": "length"}]
    assert (usage["usage"]["total_tokens"], usage["hypereal"], done) == (17, SHOWN, "[DONE]")
    machine = relay()
    machine.feed(frames(chunk(says("Hi"))))
    finish, done = events_of(machine.finish(BILLING))
    assert (finish["choices"][0]["finish_reason"], finish["hypereal"]) == ("length", SHOWN)


@pytest.mark.parametrize(
    ("error", "message", "is_overload"),
    [
        ({"code": 400, "message": "Token limit reached"}, "Token limit reached", False),
        ({"code": 429, "message": "Busy"}, "Busy", True),
        ({"type": "overloaded_error", "message": "Busy"}, "Busy", True),
        ({"message": "See https://api.example.com/x"}, "See [redacted]", False),
        ("boom", "boom", False),
        ({}, None, False),
        ({"code": 500}, "The upstream ended the stream with an error.", False),
    ],
)
def test_an_error_inside_the_stream_is_a_failure(error: Any, message: str | None, is_overload: bool) -> None:
    machine = relay()
    out = events_of(machine.feed(frames(chunk(says("Hi")), chunk(ends()), chunk(error=error), "[DONE]")))
    assert len(out) == 1
    assert (machine.state.failure, machine.state.failure_is_overload) == (message, is_overload)
    assert machine.state.is_complete is (message is None)


def test_nothing_is_relayed_after_a_failure() -> None:
    machine = relay()
    machine.feed(frames(chunk(error={"message": "boom"})))
    assert machine.feed(frames(chunk(says("Hi")))) == b""
    assert machine.end() == b""
    assert machine.state.relayed_bytes == 0


@pytest.mark.parametrize("data", ["junk", "[1]", '{"choices": 5}', '{"choices": [1]}', "[" * 100_000])
def test_what_cannot_be_read_is_a_failure(data: str) -> None:
    machine = relay()
    assert machine.feed(frames(data)) == b""
    assert machine.state.failure == "The upstream sent an event that cannot be read."


def test_empty_choices_and_comments_do_no_harm() -> None:
    machine = relay()
    filters = chunk(prompt_filter_results=[{"prompt_index": 0}])
    out = machine.feed(b": OPENROUTER PROCESSING\n\n" + frames(filters))
    assert out.startswith(b": keep-alive\n\n")
    assert events_of(out) == [{**filters, "model": "gpt-5-5"}]


def test_what_a_delta_says_is_measured_in_bytes() -> None:
    call = {"index": 0, "id": "call_1", "function": {"name": "find", "arguments": '{"a":1}'}}
    deltas = [
        ({"role": "assistant", "content": "hé"}, 3),
        ({"content": None, "reasoning_content": "abc"}, 3),
        ({"reasoning": "abc", "reasoning_details": [{"text": "abc"}]}, 3),
        ({"reasoning": "abc", "reasoning_content": "abc"}, 3),
        ({"refusal": "no"}, 2),
        ({"tool_calls": [call]}, 11),
        ({"tool_calls": [{"index": 0, "function": {"arguments": None}}]}, 0),
        ({"tool_calls": [{"custom": {"name": "x", "input": "yy"}}, None]}, 3),
        ({"function_call": {"name": "f", "arguments": "{}"}}, 3),
        ({"content": [{"type": "text", "text": "abcd"}]}, 4),
        ({}, 0),
    ]
    for delta, size in deltas:
        machine = relay()
        machine.feed(frames(chunk({"index": 0, "delta": delta})))
        assert size_of(machine.state.said) == size, delta


def test_images_of_a_delta_are_counted() -> None:
    machine = relay()
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    machine.feed(frames(chunk({"index": 0, "delta": {"content": "", "images": [image, image]}})))
    assert (machine.state.images, size_of(machine.state.said)) == (2, 0)


def test_a_failed_stream_ends_with_an_error_and_no_done() -> None:
    error = GatewayError("upstream_error", "The upstream failed.")
    (event,) = events_of(relay().fail(error, request_id="req_1"))
    assert event == {
        "error": {"message": "The upstream failed.", "type": "server_error", "param": None, "code": "upstream_error"}
    }


def test_a_ping_is_a_comment() -> None:
    assert relay().ping() == b": keep-alive\n\n"


@relaxed
@given(cuts=st.lists(st.integers(0, 2_000), max_size=12), wants_usage=st.booleans())
def test_cuts_make_no_difference(cuts: list[int], wants_usage: bool) -> None:
    stream = b"\xef\xbb\xbf: hi\r\n\r\n" + frames(chunk(says("Grüße 😀")), *NATIVE).replace(b"\n", b"\r\n")
    assert_same_however_cut(lambda: relay(wants_usage=wants_usage), stream, cuts)


def test_every_single_byte_cut() -> None:
    stream = frames(*NATIVE)
    assert_same_however_cut(relay, stream, list(range(len(stream))))


@relaxed
@given(data=st.lists(st.binary(max_size=60) | st.sampled_from([frames(event) for event in NATIVE]), max_size=8))
def test_whatever_comes_nothing_is_raised(data: list[bytes]) -> None:
    machine = relay()
    run(machine, data)
    machine.finish(BILLING)
