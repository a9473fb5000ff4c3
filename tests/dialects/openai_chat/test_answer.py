"""Plain chat replies, read from any provider and written for any caller."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw
from openai.types.chat import ChatCompletion

from apps.core.tokens import TokenUsage
from apps.dialects.hub.answer import Answer, AnswerPart, Choice, Ending
from apps.dialects.hub.conversation import Conversation, Image, Refusal, Text, Thinking, ToolCall
from apps.dialects.hub.reasoning import Seal
from apps.dialects.openai_chat.answer import read_answer, write_answer

USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def reply(message: dict[str, Any] | None, reason: str = "stop", **more: Any) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": reason}
    if message is None:
        del choice["message"]
    return json.dumps({"id": "chatcmpl-1", "created": 9, "choices": [choice], "usage": USAGE, **more}).encode()


def read(message: dict[str, Any] | None, reason: str = "stop") -> Choice:
    [choice] = read_answer(reply(message, reason)).choices
    return choice


def test_a_reply_is_read_whole() -> None:
    assert read_answer(reply({"role": "assistant", "content": "Hi"})) == Answer(
        "chatcmpl-1", [Choice([Text("Hi")], Ending("end", native="stop"))], TokenUsage(input=5, output=7), 9
    )


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"content": "4", "reasoning_content": "hm"}, [Thinking("hm"), Text("4")]),
        ({"content": [{"type": "text", "text": "4"}], "reasoning": "hm"}, [Thinking("hm"), Text("4")]),
        ({"content": None, "refusal": "No."}, [Refusal("No.")]),
        (
            {"content": "", "images": [{"type": "image_url", "image_url": {"url": "data:image/webp;base64,UklG"}}]},
            [Image("image/webp", "UklG")],
        ),
        (
            {"tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": '{"a":1}'}}]},
            [ToolCall("c1", "f", '{"a":1}')],
        ),
        (
            {"tool_calls": [{"id": "c1", "type": "custom", "custom": {"name": "p", "input": "x"}}]},
            [ToolCall("c1", "p", "x", is_custom=True)],
        ),
    ],
)
def test_every_kind_of_part_is_read(message: dict[str, Any], parts: list[AnswerPart]) -> None:
    assert read(message).parts == parts


def test_reasoning_details_of_an_upstream_are_its_own_seals() -> None:
    details = [
        {"type": "reasoning.text", "text": "hm", "signature": "Eq=", "format": "anthropic-claude-v1", "index": 0}
    ]
    payload = '{"type":"reasoning.text","signature":"Eq=","format":"anthropic-claude-v1"}'
    assert read({"content": "4", "reasoning": "hm", "reasoning_details": details}).parts == [
        Thinking("hm", Seal("chat", "signature", payload)),
        Text("4"),
    ]


def test_endings() -> None:
    assert read({"content": "a"}, "length").ending.reason == "length"
    assert read({"content": "a"}, "content_filter").ending.reason == "filtered"
    assert read({"content": None, "refusal": "No."}).ending.reason == "refusal"
    assert read({"tool_calls": [{"id": "c", "function": {"name": "f"}}]}, "stop").ending.reason == "tools"
    for native, reason in (("stop_sequence", "stop_sequence"), ("pause_turn", "pause"), ("end_turn", "end")):
        choice = {"index": 0, "message": {"content": "a"}, "finish_reason": "stop", "native_finish_reason": native}
        assert read_answer(reply({}, choices=[choice])).choices[0].ending == Ending(reason, native=native)  # type: ignore[arg-type]
    assert read({"content": "a"}, "galaxy").ending == Ending("other", native="galaxy")
    assert read(None, "content_filter") == Choice([], Ending("filtered", native="content_filter"))


def test_a_failure_inside_a_200_is_one() -> None:
    assert read_answer(b'{"id":"x","error":{"message":"down"}}').failure == "down"
    failed = {"index": 0, "message": {"content": ""}, "finish_reason": "error", "error": {"message": "gone"}}
    assert read_answer(reply({}, choices=[failed])).failure == "gone"
    with pytest.raises(ValueError, match="no choices"):
        read_answer(b'{"id":"x"}')
    with pytest.raises(ValueError, match="no choices"):
        read_answer(b'{"id":"x","choices":[]}')


def shown(answer: Answer, conversation: Conversation | None = None) -> dict[str, Any]:
    body = write_answer(answer, conversation or Conversation([]), model_id="gpt-5-5", hypereal=b'{"billing":{}}')
    ChatCompletion.model_validate_json(body)
    decoded: dict[str, Any] = json.loads(body)
    return decoded


def test_an_answer_is_written_as_openai_writes_it() -> None:
    usage = TokenUsage(input=3, cache_read=4, output=6)
    answer = Answer("msg_1", [Choice([Text("Hel"), Text("lo")], Ending("end"))], usage, 9)
    assert shown(answer) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 9,
        "model": "gpt-5-5",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 7,
            "completion_tokens": 6,
            "total_tokens": 13,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        "hypereal": {"billing": {}},
    }


def test_calls_reasoning_and_images_are_written_with_their_seals() -> None:
    parts: list[AnswerPart] = [
        Thinking("hm", Seal("anthropic", "signature", "Eq=")),
        Thinking(seal=Seal("gemini", "encrypted", "CiQ=", "c1")),
        ToolCall("c1", "f", ""),
        Image("image/jpeg", Raw(b'"/9j/"')),
    ]
    message = shown(Answer("x", [Choice(parts, Ending("tools"))]))["choices"][0]["message"]
    assert message == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "reasoning_content": "hm",
        "reasoning_details": [
            {
                "type": "reasoning.text",
                "text": "hm",
                "signature": "Eq=",
                "format": "anthropic-claude-v1",
                "id": "hypereal.",
                "index": 0,
            },
            {
                "type": "reasoning.encrypted",
                "data": "CiQ=",
                "format": "google-gemini-v1",
                "id": "hypereal.c1",
                "index": 1,
            },
        ],
        "tool_calls": [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": "CiQ="}},
            }
        ],
        "images": [{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/"}, "index": 0}],
    }


def test_why_a_model_refused_is_told_where_the_upstream_says_so() -> None:
    told = Ending("refusal", native="refusal", details={"type": "refusal", "explanation": "Not that."})
    [choice] = shown(Answer("x", [Choice([], told)]))["choices"]
    assert (choice["message"]["content"], choice["message"]["refusal"]) == (None, "Not that.")
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("stop", "refusal")
    [broken_off] = shown(Answer("x", [Choice([Text("Here is")], told)]))["choices"]
    assert broken_off["finish_reason"] == "content_filter"


def test_usage_that_nobody_counted_is_null_and_a_missing_id_is_made() -> None:
    body = shown(Answer("", [Choice([Text("a")], Ending("end"))]))
    assert body["usage"] is None
    assert body["id"].startswith("chatcmpl-")
    assert len(body["id"]) > 20
    assert body["created"] > 1_700_000_000
