"""Plain Messages replies: from an upstream, and for a caller."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic._models import construct_type_unchecked
from anthropic.types import Message

from apps.core.tokens import TokenUsage
from apps.dialects.anthropic_messages.answer import read_answer, write_answer
from apps.dialects.hub.answer import Answer, AnswerPart, Choice, Ending, StopReason
from apps.dialects.hub.conversation import Image, Refusal, Text, Thinking, ToolCall
from apps.dialects.hub.reasoning import Seal

END = Ending("end")
BILLING = b'{"billing":{"credits_charged":12}}'


def reply(*content: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "theirs",
            "content": list(content),
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 5, "output_tokens": 7},
            **fields,
        }
    ).encode()


def shown(*parts: AnswerPart, ending: Ending = END, usage: TokenUsage | None = None) -> dict[str, Any]:
    """The caller's reply; the official SDK reads it too."""
    raw = write_answer(Answer("chatcmpl-1", [Choice(list(parts), ending)], usage), model_id="ours", hypereal=BILLING)
    written: dict[str, Any] = json.loads(raw)
    read = construct_type_unchecked(value=written, type_=Message)
    assert [block.type for block in read.content] == [block["type"] for block in written["content"]]
    return written


def test_a_reply_is_read_with_all_its_seals() -> None:
    answer = read_answer(
        reply(
            {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
            {"type": "thinking", "thinking": "", "signature": "EqQC"},
            {"type": "redacted_thinking", "data": "EmwK"},
            {"type": "text", "text": "Hi", "citations": [{"type": "char_location"}]},
            {"type": "tool_use", "id": "toolu_1", "name": "grep", "input": {"q": 1.0}},
        )
    )
    assert answer.choices[0].parts == [
        Thinking("hm", Seal("anthropic", "signature", "EqQB")),
        Thinking("", Seal("anthropic", "signature", "EqQC")),
        Thinking(seal=Seal("anthropic", "encrypted", "EmwK")),
        Text("Hi", citations=[{"type": "char_location"}]),
        ToolCall("toolu_1", "grep", '{"q": 1.0}'),
    ]
    assert (answer.id, answer.usage) == ("msg_1", TokenUsage(input=5, output=7))


def test_results_of_hosted_tools_are_left_out_whole() -> None:
    answer = read_answer(
        reply(
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "web_search_result"}]},
            {"type": "something_new", "text": {"not": "a string"}} | {"text": "x"},
            {"type": "text", "text": "Hi"},
        )
    )
    assert answer.choices[0].parts == [Text("Hi")]


@pytest.mark.parametrize(
    ("stop_reason", "reason"),
    [
        ("end_turn", "end"),
        ("stop_sequence", "stop_sequence"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tools"),
        ("refusal", "refusal"),
        ("pause_turn", "pause"),
        ("compaction", "other"),
    ],
)
def test_every_stop_reason_is_read(stop_reason: str, reason: StopReason) -> None:
    ending = read_answer(reply(stop_reason=stop_reason, stop_sequence="END")).choices[0].ending
    assert ending == Ending(reason, "END", stop_reason)


def test_an_error_in_a_good_reply_is_a_failure() -> None:
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    assert read_answer(body).failure == "Overloaded"


@pytest.mark.parametrize("body", [b"[]", b"{", b"{}", b'{"content": "Hi"}', b'{"content": [{"type": 1}]}'])
def test_what_is_no_message_is_no_answer(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any of the decoder's
        read_answer(body)


def test_a_caller_sees_every_part_as_a_block() -> None:
    body = shown(
        Thinking("hm", Seal("anthropic", "signature", "EqQB")),
        Thinking("so", Seal("openai", "encrypted", "gAAA", "rs_1")),
        Thinking("ah"),
        Thinking(seal=Seal("openai", "encrypted", "gAAA")),
        Text("Hi"),
        ToolCall("call_1", "grep", '{"q":1.0}'),
        ToolCall("call_2", "ls", ""),
        ToolCall("call_3", "ls", '{"cut'),
        ending=Ending("tools"),
        usage=TokenUsage(input=5, cache_read=3, cache_write_5m=2, cache_write_1h=1, output=9, reasoning=4),
    )
    assert body["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
        {"type": "thinking", "thinking": "so", "signature": "hypereal.openai.encrypted~rs_1.gAAA"},
        {"type": "thinking", "thinking": "ah", "signature": "hypereal.chat.signature."},
        {"type": "redacted_thinking", "data": "hypereal.openai.encrypted.gAAA"},
        {"type": "text", "text": "Hi"},
        {"type": "tool_use", "id": "call_1", "name": "grep", "input": {"q": 1.0}},
        {"type": "tool_use", "id": "call_2", "name": "ls", "input": {}},
        {"type": "tool_use", "id": "call_3", "name": "ls", "input": {"INVALID_JSON": '{"cut'}},
    ]
    assert (body["id"], body["model"], body["stop_reason"]) == ("msg_chatcmpl-1", "ours", "tool_use")
    assert body["usage"] == {
        "input_tokens": 5,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 3,
        "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 1},
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 4},
    }
    assert body["hypereal"] == {"billing": {"credits_charged": 12}}


@pytest.mark.parametrize(
    ("ending", "stop_reason"),
    [
        (Ending("end"), "end_turn"),
        (Ending("length"), "max_tokens"),
        (Ending("filtered"), "refusal"),
        (Ending("pause"), "pause_turn"),
        (Ending("other", native="max_turns"), "max_turns"),
        (Ending("other"), "end_turn"),
    ],
)
def test_every_ending_has_a_stop_reason(ending: Ending, stop_reason: str) -> None:
    assert shown(Text("Hi"), ending=ending)["stop_reason"] == stop_reason


def test_a_stop_sequence_is_named() -> None:
    body = shown(Text("Hi"), ending=Ending("stop_sequence", "END"))
    assert (body["stop_reason"], body["stop_sequence"]) == ("stop_sequence", "END")


def test_a_refusal_has_its_words_and_its_details() -> None:
    body = shown(Refusal("I can't."))
    assert body["content"] == [{"type": "text", "text": "I can't."}]
    assert body["stop_reason"] == "refusal"
    assert body["stop_details"] == {"type": "refusal", "category": None, "explanation": "I can't."}


def test_an_answer_that_says_nothing_still_has_a_block() -> None:
    assert shown()["content"] == [{"type": "text", "text": ""}]
    assert shown(ending=Ending("refusal"))["content"] == []


def test_a_drawn_image_is_shown() -> None:
    assert shown(Image("image/png", "iVBO"))["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}
    ]
