"""Gemini's replies, plain and streamed: the same answer, every signature beside the part that it belongs to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from apps.core.tokens import NO_USAGE, TokenUsage
from apps.dialects.common.sse import Splitter
from apps.dialects.gemini.answer import read_answer
from apps.dialects.gemini.events import GeminiReader
from apps.dialects.hub.answer import Answer, AnswerPart, Choice, Ending
from apps.dialects.hub.conversation import Image, Text, Thinking, ToolCall
from apps.dialects.hub.events import Begin, UsageRead
from apps.dialects.hub.reasoning import Seal
from tests.dialects.bodies import relaxed
from tests.dialects.hub.streams import Collector, read_stream

USAGE = {"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12}
CAT = {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/"}}
DRAWN = Image("image/jpeg", Raw(b'"/9j/"'))


def chunk(*parts: dict[str, Any], finish: Any = None, index: int = 0, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": index}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": USAGE, "responseId": "r1", **more}


def stream(*chunks: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunks)


def collect(*chunks: dict[str, Any], n: int = 1) -> Collector:
    return read_stream(GeminiReader(n=n), stream(*chunks))


def streamed(*chunks: dict[str, Any], n: int = 1) -> Answer:
    collector = collect(*chunks, n=n)
    assert collector.is_done
    return collector.collected()


def plain(reply: dict[str, Any]) -> Answer:
    return read_answer(json.dumps(reply).encode())


def parts(*shown: dict[str, Any]) -> list[AnswerPart]:
    """What such parts say; the stream, one part a chunk, says the same."""
    [choice] = plain(chunk(*shown, finish="STOP")).choices
    [again] = streamed(*(chunk(part) for part in shown), chunk(finish="STOP")).choices
    assert again == choice
    return choice.parts


def seal(payload: str, part: str = "") -> Seal:
    return Seal("gemini", "encrypted", payload, part)


def test_a_reply_is_read_whole() -> None:
    answer = Answer("r1", [Choice([Text("Hi")], Ending("end", native="STOP"))], TokenUsage(input=5, output=7))
    assert plain(chunk({"text": "Hi"}, finish="STOP")) == answer
    assert streamed(chunk({"text": "H"}), chunk({"text": "i"}), chunk({"text": ""}, finish="STOP")) == answer


def test_thoughts_are_summaries() -> None:
    assert parts({"text": "Hm", "thought": True}, {"text": "4"}) == [Thinking("Hm", is_summary=True), Text("4")]
    assert parts({"text": "Hm", "thought": True, "thoughtSignature": "CiQ="}, {"text": "4"}) == [
        Thinking("Hm", seal("CiQ="), is_summary=True),
        Text("4"),
    ]


def test_a_signature_of_a_call_stands_before_it_and_names_it() -> None:
    call = {"functionCall": {"name": "f", "args": {"a":  1}, "id": "c1"}, "thoughtSignature": "CiQ="}  # fmt: skip
    assert parts(call, {"functionCall": {"name": "g", "args": {}, "id": "c2"}}) == [
        Thinking(seal=seal("CiQ=", "c1")),
        ToolCall("c1", "f", '{"a": 1}'),
        ToolCall("c2", "g", "{}"),
    ]


def test_signatures_of_texts_and_images_count_within_the_answer() -> None:
    assert parts(
        {"text": "One."},
        {"text": "", "thoughtSignature": "s1"},
        {**CAT, "thoughtSignature": "s2"},
        CAT,
        {"text": "Two.", "thoughtSignature": "s3"},
    ) == [
        Text("One."),
        Thinking(seal=seal("s1", "end:0")),
        Thinking(seal=seal("s2", "image:0")),
        DRAWN,
        DRAWN,
        Text("Two."),
        Thinking(seal=seal("s3", "text:1")),
    ]


def test_a_call_without_an_id_gets_one() -> None:
    [choice] = plain(chunk({"functionCall": {"name": "f"}}, finish="STOP")).choices
    [call] = choice.parts
    assert isinstance(call, ToolCall)
    assert call.id.startswith("call_")
    assert call.arguments == ""


def test_code_that_the_provider_ran_says_nothing() -> None:
    assert parts({"executableCode": {"code": "1+1"}, "thoughtSignature": "s"}, {"text": "2"}) == [Text("2")]


@pytest.mark.parametrize(
    ("word", "reason"),
    [("STOP", "end"), (1, "end"), ("MAX_TOKENS", "length"), (2, "length"), ("SAFETY", "filtered"),
     ("IMAGE_SAFETY", "filtered"), ("MODEL_ARMOR", "filtered"), ("RECITATION", "filtered"), ("LANGUAGE", "other")],
)  # fmt: skip
def test_endings(word: Any, reason: str) -> None:
    reply = chunk({"text": "a"}, finish=word)
    assert plain(reply).choices[0].ending.reason == reason
    assert streamed(reply).choices[0].ending == plain(reply).choices[0].ending


def test_stop_after_calls_means_that_calls_are_pending_and_unexpected_ones_keep_their_word() -> None:
    call = {"functionCall": {"name": "f", "id": "c1"}}
    assert plain(chunk(call, finish="STOP")).choices[0].ending == Ending("tools", native="STOP")
    odd = plain(chunk(call, finish="UNEXPECTED_TOOL_CALL")).choices[0].ending
    assert odd == Ending("other", native="UNEXPECTED_TOOL_CALL")


def test_a_blocked_prompt_is_a_filtered_answer_and_costs_what_was_counted() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"trafficType": "ON_DEMAND"}}
    expected = [Choice([], Ending("filtered", native="SAFETY"))]
    assert plain(blocked) == Answer("", expected, NO_USAGE)
    assert streamed(blocked) == Answer("", expected, NO_USAGE)
    counted = {**blocked, "usageMetadata": {"promptTokenCount": 14, "totalTokenCount": 14}}
    assert plain(counted).usage == streamed(counted).usage == TokenUsage(input=14)


def test_an_answer_without_a_word_is_one() -> None:
    empty = {"candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}], "usageMetadata": USAGE}
    assert plain(empty).choices == [Choice([], Ending("length", native="MAX_TOKENS"))]
    assert streamed(empty).choices == plain(empty).choices


def test_several_candidates_keep_their_places() -> None:
    answer = streamed(
        chunk({"text": "a"}),
        chunk({"text": "b"}, index=1, finish="MAX_TOKENS"),
        chunk({"text": "a"}, finish="STOP"),
        n=2,
    )
    assert [choice.parts for choice in answer.choices] == [[Text("aa")], [Text("b")]]
    assert [choice.ending.reason for choice in answer.choices] == ["end", "length"]


def test_arguments_that_come_value_by_value_are_put_together() -> None:
    def call(*values: dict[str, Any], **more: Any) -> dict[str, Any]:
        return chunk({"functionCall": {"partialArgs": list(values), **more}})

    [choice] = streamed(
        chunk({"functionCall": {"name": "f", "willContinue": True}, "thoughtSignature": "s"}),
        call({"jsonPath": "$.city", "stringValue": "Bos", "willContinue": True}, willContinue=True),
        call({"jsonPath": "$.city", "stringValue": "ton"}, willContinue=True),
        call(
            {"jsonPath": "$.days[1].at", "numberValue": 2}, {"jsonPath": "$.now", "boolValue": True}, willContinue=True
        ),
        call({"jsonPath": "$['odd key']", "nullValue": None}, willContinue=True),
        chunk({"functionCall": {}}, finish="STOP"),
    ).choices
    [signature, made] = choice.parts
    assert isinstance(made, ToolCall)
    assert isinstance(signature, Thinking)
    assert signature.seal == seal("s", made.id)
    assert json.loads(made.arguments) == {"city": "Boston", "days": [None, {"at": 2}], "now": True, "odd key": None}
    assert choice.ending.reason == "tools"


def test_log_probabilities_are_listed_as_openai_lists_them() -> None:
    token = {"token": "Hi", "logProbability": -0.5, "tokenId": 7}
    reply = chunk({"text": "Hi"}, finish="STOP")
    reply["candidates"][0]["logprobsResult"] = {"chosenCandidates": [token], "topCandidates": [{"candidates": [token]}]}
    shown = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}
    assert plain(reply).choices[0].logprobs == [{**shown, "top_logprobs": [shown]}]
    assert streamed(reply).choices[0].logprobs == plain(reply).choices[0].logprobs


def test_an_image_that_is_no_string_is_no_reply() -> None:
    with pytest.raises(ValueError, match="no string"):
        plain(chunk({"inlineData": {"mimeType": "image/png", "data": 5}}, finish="STOP"))


def test_failures() -> None:
    down = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    assert plain(down).failure == "The model is overloaded."
    failed = collect(chunk({"text": "a"}), down).failure
    assert failed is not None
    assert failed.is_overload
    with pytest.raises(ValueError, match="no candidates"):
        plain({"usageMetadata": USAGE})
    assert not collect(chunk({"text": "a"})).is_done
    assert not collect({"usageMetadata": USAGE}).is_done


def test_the_first_usage_tells_of_the_prompt_alone_and_the_last_one_counts() -> None:
    reader = GeminiReader()
    early = {**chunk({"text": "a"}), "usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 5}}
    [event] = Splitter().feed(stream(early))
    assert list(reader.feed(event))[:2] == [Begin("r1"), UsageRead(TokenUsage(input=5), counts_output=False)]
    assert streamed(early, chunk({"text": "b"}, finish="STOP")).usage == TokenUsage(input=5, output=7)


text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
signatures = st.none() | st.text("abcABC012+/=", min_size=4, max_size=8)


@st.composite
def shown_parts(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Parts as Gemini makes them: neighbours of one kind are one part, unless a signature parts them."""
    made: list[dict[str, Any]] = []
    for index in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["text", "thought", "call", "image"]))
        options: dict[str, dict[str, Any]] = {
            "text": {"text": draw(text)},
            "thought": {"text": draw(text), "thought": True},
            "call": {"functionCall": {"id": f"c{index}", "name": "f", "args": {"a": draw(text)}}},
            "image": dict(CAT),
        }
        part = options[kind]
        signature = draw(signatures)
        if signature is not None:
            part["thoughtSignature"] = signature
        before = made[-1] if made else {}
        is_same = "text" in before and "text" in part and before.get("thought") == part.get("thought")
        if not is_same or "thoughtSignature" in before:
            made.append(part)
    return made


@relaxed
@given(shown_parts(), st.integers(1, 5))
def test_a_stream_says_what_the_plain_reply_says(made: list[dict[str, Any]], piece: int) -> None:
    chunks = []
    for part in made:
        words = part.get("text", "")
        pieces = [words[start : start + piece] for start in range(0, len(words), piece)]
        unsigned = {name: value for name, value in part.items() if name != "thoughtSignature"}
        chunks += [chunk({**unsigned, "text": said}) for said in pieces[:-1]]
        chunks.append(chunk({**part, "text": pieces[-1]} if pieces else part))
    assert streamed(*chunks, chunk(finish="STOP")) == plain(chunk(*made, finish="STOP"))
