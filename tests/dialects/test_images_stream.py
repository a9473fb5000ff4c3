"""An image stream on its way: previews pass, the finished image waits for the settlement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import GatewayError
from apps.core.tokens import TokenUsage
from apps.dialects.protocol import StreamRelay
from apps.dialects.registry import BY_ENDPOINT
from tests.dialects.bodies import assert_same_however_cut, events_of, frames, parse, relaxed, run, typed

BILLING = b'{"billing":{"credits_charged":12}}'
SHOWN = {"billing": {"credits_charged": 12}}
PREVIEW = {"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": "AAAA"}
IMAGE = {
    "type": "image_generation.completed",
    "b64_json": "AAAABBBB",
    "usage": {"input_tokens": 8, "output_tokens": 1_056, "total_tokens": 1_064},
}


def relay() -> StreamRelay:
    return BY_ENDPOINT["images"].relay(parse("images", stream=True), model_id="gpt-image-2")


def test_previews_pass_and_the_image_waits() -> None:
    machine = relay()
    assert machine.feed(typed(PREVIEW)) == typed(PREVIEW)
    assert machine.feed(typed(IMAGE)) == b""
    state = machine.state
    assert (state.is_complete, state.is_withholding, state.images) == (True, True, 1)
    assert state.usage == TokenUsage(input=8, output=1_056, image_output=1_056)
    rest = machine.finish(BILLING)
    assert rest.startswith(b"event: image_generation.completed\n")
    assert events_of(rest) == [{**IMAGE, "hypereal": SHOWN}]


def test_an_image_that_names_a_model_names_ours() -> None:
    machine = relay()
    machine.feed(frames({**IMAGE, "model": "theirs"}))
    assert events_of(machine.finish(BILLING))[0]["model"] == "gpt-image-2"


def test_an_image_without_usage_leaves_it_unknown() -> None:
    machine = relay()
    machine.feed(typed({**IMAGE, "usage": None}))
    assert (machine.state.is_complete, machine.state.usage) == (True, None)


def test_previews_alone_are_nothing() -> None:
    machine = relay()
    run(machine, [typed(PREVIEW), b"data: [DONE]\n\n"])
    assert not machine.state.is_complete
    assert machine.finish(BILLING) == b""


@pytest.mark.parametrize("event", [{"type": "error", "error": {"message": "No."}}, {"error": {"message": "No."}}])
def test_an_error_event_is_a_failure(event: dict[str, object]) -> None:
    machine = relay()
    machine.feed(typed(PREVIEW) + frames(event) + typed(IMAGE))
    assert (machine.state.failure, machine.state.is_complete) == ("No.", False)


def test_a_failed_stream_ends_with_an_error_event() -> None:
    raw = relay().fail(GatewayError("upstream_error", "It broke."), request_id="req_1")
    (event,) = events_of(raw)
    assert raw.startswith(b"event: error\n")
    assert (event["type"], event["error"]["code"]) == ("error", "upstream_error")


@relaxed
@given(cuts=st.lists(st.integers(0, 500), max_size=12))
def test_cuts_make_no_difference(cuts: list[int]) -> None:
    assert_same_however_cut(relay, typed(PREVIEW, IMAGE), cuts)
