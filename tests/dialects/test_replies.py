"""Plain replies: metered, checked for hidden failures, shown under the caller's model id with the bill."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.tokens import TokenUsage
from apps.dialects.registry import BY_ENDPOINT
from tests.dialects.bodies import ENDPOINTS, relaxed, size_of

BILLING = b'{"billing":{"credits_charged":0.0136}}'


def read(endpoint: str, reply: dict[str, Any]) -> Any:
    return BY_ENDPOINT[endpoint].read_reply(json.dumps(reply).encode())


CHAT = {
    "id": "chatcmpl-1",
    "model": "theirs",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 5},
}
RESPONSES = {
    "id": "resp_1",
    "model": "theirs",
    "status": "completed",
    "error": None,
    "output": [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "ab"}], "encrypted_content": "xyz"},
        {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]},
        {"type": "function_call", "name": "find", "arguments": "{}"},
    ],
    "usage": {"input_tokens": 12, "output_tokens": 5},
}
IMAGES = {"created": 7, "data": [{"b64_json": "AAAA"}, {"b64_json": "BBBB"}], "usage": {"output_tokens": 99}}
MESSAGES = {
    "id": "msg_1",
    "type": "message",
    "model": "theirs",
    "content": [
        {"type": "thinking", "thinking": "abc", "signature": "sigsig"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "t", "name": "find", "input": {"a": 1}},
    ],
    "usage": {"input_tokens": 12, "output_tokens": 5},
}
REPLIES: dict[str, dict[str, Any]] = {"chat": CHAT, "responses": RESPONSES, "images": IMAGES, "messages": MESSAGES}


def test_replies_are_metered() -> None:
    used = TokenUsage(input=12, output=5)
    chat, responses, images, messages = (
        read(endpoint, REPLIES[endpoint]) for endpoint in ("chat", "responses", "images", "messages")
    )
    assert (chat.usage, size_of(chat.said), chat.images, chat.failure) == (used, 5, 0, None)
    assert (responses.usage, responses.said.texts(), responses.said.sealed_bytes) == (used, ["Hello", "find{}"], 3)
    assert (images.usage, images.images) == (TokenUsage(output=99, image_output=99), 2)
    assert (messages.usage, messages.said.texts(), messages.failure) == (used, ["abc", "Hello", 'find{"a":1}'], None)


def test_images_in_a_chat_reply_are_counted() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    message = {"role": "assistant", "content": None, "images": [image]}
    reply = read("chat", {**CHAT, "choices": [{"index": 0, "message": message}]})
    assert (reply.images, size_of(reply.said)) == (1, 0)


def test_thinking_that_is_not_shown_is_measured_by_its_encrypted_form() -> None:
    blocks = [{"type": "thinking", "thinking": "", "signature": "sigsig"}, {"type": "redacted_thinking", "data": "xyz"}]
    assert size_of(read("messages", {**MESSAGES, "content": blocks}).said) == 9


def test_a_reply_without_usage_leaves_it_unknown() -> None:
    for endpoint, reply in REPLIES.items():
        assert read(endpoint, {**reply, "usage": None}).usage is None


def test_an_incomplete_response_is_a_success() -> None:
    reply = read("responses", {**RESPONSES, "status": "incomplete"})
    assert (reply.failure, reply.usage) == (None, TokenUsage(input=12, output=5))


@pytest.mark.parametrize(
    ("endpoint", "reply", "failure"),
    [
        ("chat", {"error": {"code": 502, "message": "Provider returned error"}}, "Provider returned error"),
        ("responses", {**RESPONSES, "status": "failed", "error": {"message": "Bang"}}, "Bang"),
        ("responses", {**RESPONSES, "status": "queued"}, "The upstream ended the response with status queued."),
        ("responses", {**RESPONSES, "status": "cancelled"}, "The upstream ended the response with status cancelled."),
        ("images", {"error": {"message": "No."}}, "No."),
        ("images", {"data": []}, "The upstream returned no image."),
        ("messages", {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "Overloaded"),
        ("messages", {"error": "boom"}, "boom"),
    ],
)
def test_a_failure_in_a_success_is_found(endpoint: str, reply: dict[str, Any], failure: str) -> None:
    found = read(endpoint, reply)
    assert (found.failure, found.usage) == (failure, None)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"3", b"null", b"{}", b'{"choices": 5}', b"[" * 100_000])
def test_what_is_no_reply_raises_value_error(endpoint: str, body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        BY_ENDPOINT[endpoint].read_reply(body)


@pytest.mark.parametrize("endpoint", ["chat", "responses", "messages"])
def test_the_reply_names_our_model_and_carries_the_bill(endpoint: str) -> None:
    raw = json.dumps(REPLIES[endpoint]).encode()
    shown = json.loads(BY_ENDPOINT[endpoint].render_reply(raw, model_id="gpt-5-5", hypereal=BILLING))
    assert shown == {
        **REPLIES[endpoint],
        "model": "gpt-5-5",
        "hypereal": {"billing": {"credits_charged": 0.0136}},
    }
    kept = json.loads(BY_ENDPOINT[endpoint].render_reply(raw, model_id=None, hypereal=BILLING))
    assert kept["model"] == "theirs"


def test_an_image_reply_gets_no_model_that_it_has_not() -> None:
    raw = json.dumps(IMAGES).encode()
    shown = json.loads(BY_ENDPOINT["images"].render_reply(raw, model_id="gpt-image-2", hypereal=BILLING))
    assert shown == {**IMAGES, "hypereal": {"billing": {"credits_charged": 0.0136}}}
    named = json.dumps({**IMAGES, "model": "theirs"}).encode()
    assert json.loads(BY_ENDPOINT["images"].render_reply(named, model_id="gpt-image-2", hypereal=BILLING))["model"] == (
        "gpt-image-2"
    )


def test_what_lies_below_the_top_level_travels_byte_by_byte() -> None:
    raw = b'{"model":"theirs","choices":[ {"message": {"content":"\\u00e9 1.0"}} ],"x":1.0}'
    shown = BY_ENDPOINT["chat"].render_reply(raw, model_id="ours", hypereal=b"{}")
    assert shown == b'{"model":"ours","choices":[ {"message": {"content":"\\u00e9 1.0"}} ],"x":1.0,"hypereal":{}}'


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@relaxed
@given(
    fields=st.dictionaries(
        st.sampled_from(["choices", "usage", "error", "output", "content", "data", "status", "type", "x_groq"]),
        st.recursive(
            st.none() | st.integers() | st.sampled_from(["", "error", "completed"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["message", "content", "usage", "text", "images", "tool_calls"]), inner
                )
            ),
            max_leaves=8,
        ),
    )
)
def test_whatever_json_comes_only_value_errors_go(endpoint: str, fields: dict[str, Any]) -> None:
    with contextlib.suppress(ValueError):
        read(endpoint, fields)
