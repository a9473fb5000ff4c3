"""Hub events as a chat stream that official clients take for OpenAI's own."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from msgspec import Raw
from openai.lib.streaming._deltas import accumulate_delta
from openai.types.chat import ChatCompletionChunk

from apps.core.tokens import TokenUsage
from apps.dialects.hub.answer import Answer, Choice, Ending
from apps.dialects.hub.conversation import Image, Refusal, Text, Thinking, ToolCall
from apps.dialects.hub.events import Begin, BlockBegin, Delta
from apps.dialects.hub.reasoning import Seal
from apps.dialects.openai_chat.writer import ChatWriter
from apps.dialects.protocol import UnsupportedField
from tests.dialects import bodies
from tests.dialects.hub.streams import events_of, written

USAGE = TokenUsage(input=3, cache_read=4, cache_write_5m=2, output=6, reasoning=1)
BILL = b'{"billing":{"credits_charged":1}}'


def stream(answer: Answer, *, wants_usage: bool = False, wants_logprobs: bool = False) -> list[Any]:
    writer = ChatWriter(model_id="gpt-5-5", wants_usage=wants_usage, wants_logprobs=wants_logprobs)
    return bodies.events_of(written(writer, events_of(answer), hypereal=BILL))


def message(chunks: list[Any], choice: int = 0, *, is_typed: bool = True) -> dict[Any, Any]:
    """The message that OpenAI's own client makes of it."""
    made: dict[Any, Any] = {}
    for chunk in chunks:
        if chunk != "[DONE]":
            if is_typed:
                ChatCompletionChunk.model_validate(chunk)
            for part in chunk["choices"]:
                if part["index"] == choice:
                    accumulate_delta(made, deepcopy(part["delta"]))
    return made


def one(*parts: Any, ending: Ending = Ending("end")) -> Answer:  # noqa: B008  # frozen
    return Answer("msg_01X", [Choice(list(parts), ending)], USAGE, 1700000000)


def test_a_text_is_streamed_under_the_callers_model_with_the_role_first() -> None:
    chunks = stream(one(Text("Hello")))
    envelope = {"id": "chatcmpl-01X", "object": "chat.completion.chunk", "created": 1700000000, "model": "gpt-5-5"}
    deltas = [{"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo"}]
    assert chunks == [
        *({**envelope, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas),
        {
            **envelope,
            "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
            "hypereal": {"billing": {"credits_charged": 1}},
        },
        "[DONE]",
    ]


def test_usage_is_shown_in_a_chunk_of_its_own_only_where_the_caller_asked() -> None:
    chunks = stream(one(Text("Hi")), wants_usage=True)
    assert [chunk["usage"] for chunk in chunks[:-2]] == [None] * 3
    assert chunks[-2]["choices"] == []
    assert chunks[-2]["usage"] == {
        "prompt_tokens": 9,
        "completion_tokens": 6,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    assert chunks[-2]["hypereal"] == {"billing": {"credits_charged": 1}}
    assert all("hypereal" not in chunk for chunk in chunks[:-2])


def test_parallel_calls_have_stable_indexes_and_an_empty_call_stays_valid() -> None:
    calls = [ToolCall("c1", "f", '{"a": "ü"}'), ToolCall("c2", "g", "")]
    chunks = stream(one(Text("I look."), *calls, ending=Ending("tools")))
    assert message(chunks)["tool_calls"] == [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "ü"}'}},
        {"index": 1, "id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_custom_calls_stream_their_input() -> None:
    # OpenAI's client takes such a chunk, but has no type for it.
    made = message(stream(one(ToolCall("c1", "patch", "*** Begin", is_custom=True))), is_typed=False)
    assert made["tool_calls"] == [
        {"index": 0, "id": "c1", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}
    ]


def test_sealed_reasoning_comes_once_more_whole_in_opaque_details() -> None:
    made = message(
        stream(
            one(
                Thinking("Let me see", Seal("anthropic", "signature", "EqQ=")),
                Thinking("", Seal("anthropic", "encrypted", "RED==")),
                Text("4"),
            )
        )
    )
    assert made["reasoning_content"] == "Let me see"
    assert made["reasoning_details"] == [
        {
            "type": "reasoning.text",
            "text": "Let me see",
            "signature": "EqQ=",
            "format": "anthropic-claude-v1",
            "id": "hypereal.",
            "index": 0,
        },
        {
            "type": "reasoning.encrypted",
            "data": "RED==",
            "format": "anthropic-claude-v1",
            "id": "hypereal.",
            "index": 1,
        },
    ]


def test_a_signature_of_a_call_stands_in_the_details_and_on_the_call() -> None:
    made = message(stream(one(Thinking(seal=Seal("gemini", "encrypted", "CiQ=", "c1")), ToolCall("c1", "f", "{}"))))
    assert made["reasoning_details"] == [
        {"type": "reasoning.encrypted", "data": "CiQ=", "format": "google-gemini-v1", "id": "hypereal.c1", "index": 0}
    ]
    assert made["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "CiQ="}}


def test_images_are_data_urls_of_the_type_that_the_upstream_says() -> None:
    images = [Image("image/jpeg", "/9j/"), Image("image/png", Raw(b'"iVBO"')), Image(url="https://example.com/a.png")]
    made = message(stream(one(Text("Here"), *images)))
    assert made["images"] == [
        {"type": "image_url", "index": 0, "image_url": {"url": "data:image/jpeg;base64,/9j/"}},
        {"type": "image_url", "index": 1, "image_url": {"url": "data:image/png;base64,iVBO"}},
        {"type": "image_url", "index": 2, "image_url": {"url": "https://example.com/a.png"}},
    ]


def test_a_refusal_ends_with_stop_and_a_silent_one_with_content_filter() -> None:
    chunks = stream(one(Refusal("No."), ending=Ending("refusal", native="refusal")))
    assert message(chunks)["refusal"] == "No."
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    told = Ending("refusal", native="refusal", details={"type": "refusal", "explanation": "Not that."})
    explained = stream(one(ending=told))
    assert message(explained)["refusal"] == "Not that."
    assert explained[-2]["choices"][0]["finish_reason"] == "stop"
    broken_off = stream(one(Text("Here is"), ending=told))
    assert (message(broken_off)["content"], message(broken_off)["refusal"]) == ("Here is", "Not that.")
    assert broken_off[-2]["choices"][0]["finish_reason"] == "content_filter"
    silent = stream(one(ending=Ending("refusal", native="refusal")))
    assert silent[-2]["choices"][0]["finish_reason"] == "content_filter"


def test_endings_without_a_word_in_chat_are_told_beside_it() -> None:
    for reason, native in (("pause", "pause_turn"), ("stop_sequence", "stop_sequence"), ("other", "MODEL_ARMOR")):
        end = stream(one(Text("a"), ending=Ending(reason, native=native)))[-2]["choices"][0]  # type: ignore[arg-type]
        assert (end["finish_reason"], end["native_finish_reason"]) == ("stop", native)
    pending = stream(one(ToolCall("c1", "f", "{}"), ending=Ending("other", native="new_word")))[-2]["choices"][0]
    assert pending["finish_reason"] == "tool_calls"


def test_several_choices_stream_side_by_side() -> None:
    answer = Answer("x", [Choice([Text("aaaa")], Ending("end")), Choice([Text("bb")], Ending("length"))], USAGE, 1)
    chunks = stream(answer)
    assert message(chunks, 0) == {"role": "assistant", "content": "aaaa"}
    assert message(chunks, 1) == {"role": "assistant", "content": "bb"}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-3:-1]] == ["stop", "length"]
    assert "hypereal" in chunks[-2]
    assert "hypereal" not in chunks[-3]


def test_log_probabilities_are_shown_where_they_were_asked_for() -> None:
    token = {"token": "Hi", "logprob": -0.1, "bytes": None, "top_logprobs": []}
    answer = Answer("x", [Choice([Text("Hi")], Ending("end"), [token])], USAGE, 1)
    chunks = stream(answer, wants_logprobs=True, wants_usage=True)
    assert chunks[1]["choices"][0]["logprobs"] == {"content": [token], "refusal": None}
    assert chunks[1]["usage"] is None
    assert chunks[0]["choices"][0]["logprobs"] is None
    assert "logprobs" not in stream(answer)[1]["choices"][0]


def test_a_stream_that_we_stopped_ends_at_its_maximum_length() -> None:
    writer = ChatWriter(model_id="m", wants_usage=False)
    for event in (Begin("x"), BlockBegin(0, "text"), Delta(0, "Hi")):
        writer.write(event)
    [end, done] = bodies.events_of(writer.finish(usage=USAGE, hypereal=BILL))
    assert end["choices"][0]["finish_reason"] == "length"
    assert done == "[DONE]"


def test_a_failure_is_an_error_and_never_done() -> None:
    writer = ChatWriter(model_id="m", wants_usage=True)
    error = UnsupportedField("No.", param="x")
    assert json.loads(writer.fail(error, request_id="req_1").removeprefix(b"data: "))["error"]["message"] == "No."
