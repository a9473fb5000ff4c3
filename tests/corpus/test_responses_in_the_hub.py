"""Recorded Responses exchanges go through the hub and come out saying the same."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from openai._models import construct_type
from openai.types.responses import Response, ResponseStreamEvent

from apps.core.errors import GatewayError
from apps.dialects.hub.answer import Answer, AnswerPart
from apps.dialects.hub.conversation import Conversation, Thinking, Tool
from apps.dialects.hub.exchange import TranslatingRelay
from apps.dialects.protocol import OPENAI_RESPONSES, Request
from apps.dialects.registry import CALLERS, DIALECTS, UPSTREAMS
from tests.corpus.recordings import RECORDINGS, Recording, cut, events_of, named, needs_corpus, with_crlf
from tests.corpus.test_usage import buckets
from tests.dialects.bodies import events_of as frames_of
from tests.dialects.bodies import parse
from tests.dialects.openai_responses.test_writer import check

pytestmark = needs_corpus

CALLER = CALLERS[OPENAI_RESPONSES]
UPSTREAM = UPSTREAMS[OPENAI_RESPONSES]
REQUEST = parse("responses", stream=True)
OURS = [recording for recording in RECORDINGS if recording.dialect == OPENAI_RESPONSES]
PLAIN = [one for one in OURS if one.status == 200 and not one.is_stream]
STREAMS = [one for one in OURS if one.status == 200 and one.is_stream]
SHORTENED = ("openai-responses-079",)
"""Edited by hand: its pieces do not make up its whole."""
HEARS_ALL = Conversation(
    [],
    tools=[
        Tool(event.json["item"]["name"], is_custom=True)
        for recording in STREAMS
        for event in events_of(recording.raw)
        if event.json != "[DONE]" and event.json.get("item", {}).get("type") == "custom_tool_call"
    ],
)
"""A caller who offered the free-text tools that recorded streams call."""
HEARD = ("message", "function_call", "custom_tool_call", "image_generation_call")
"""Items that every other dialect has a word for. Reasoning that says nothing is nothing."""


def heard(output: list[dict[str, Any]]) -> list[Any]:
    """What the items say, without ids, states and what only one provider tells."""
    said: list[Any] = []
    for item in output:
        if item["type"] == "message":
            said += [part.get("text") or part.get("refusal") or "" for part in item["content"]]
        elif item["type"] in HEARD:
            said.append([item.get(name) for name in ("call_id", "name", "arguments", "input", "result")])
        elif item["type"] == "reasoning":
            texts = [part["text"] for part in [*(item.get("content") or []), *item.get("summary", [])]]
            said += ["\n\n".join(texts)] if texts else []
    return said


def parts_of(answer: Answer) -> list[AnswerPart]:
    """Without the ids that some providers give to reasoning and nobody asks back."""
    return [
        replace(part, id="") if isinstance(part, Thinking) and part.seal is None else part
        for choice in answer.choices
        for part in choice.parts
    ]


def recorded_end(recording: Recording) -> dict[str, Any] | None:
    """The response of the terminal event; None where the recording stops before it."""
    last = [event.json for event in events_of(recording.raw) if event.json != "[DONE]"][-1]
    return last["response"] if last["type"] in ("response.completed", "response.incomplete") else None


def served(recording: Recording) -> Request | None:
    """The request, where no table of price, model or state fields refuses it."""
    try:
        return DIALECTS[OPENAI_RESPONSES].parse(json.dumps(recording.request).encode())
    except GatewayError:
        return None


ASKED = [one for one in OURS if one.request is not None and served(one) is not None]


@pytest.mark.parametrize("recording", PLAIN, ids=named)
def test_a_plain_reply_says_the_same(recording: Recording) -> None:
    answer = UPSTREAM.read_answer(recording.raw)
    if answer.failure is not None:
        assert recording.body["status"] not in ("completed", "incomplete")
        return
    assert buckets(answer.usage) == recording.usage
    written = CALLER.write_answer(answer, Conversation([]), model_id="m", hypereal=b"{}")
    shown = json.loads(written)
    assert Response.construct(**shown).output_text == "".join(
        part["text"]
        for item in recording.body["output"]
        for part in item.get("content") or ()
        if part["type"] == "output_text"
    )
    assert heard(shown["output"]) == heard(recording.body["output"])
    assert (shown["status"], shown["incomplete_details"]) == (
        recording.body["status"],
        recording.body["incomplete_details"],
    )
    assert parts_of(UPSTREAM.read_answer(written)) == parts_of(answer)


@pytest.mark.parametrize("recording", STREAMS, ids=named)
def test_a_stream_says_the_same(recording: Recording) -> None:
    end = recorded_end(recording)
    outputs = []
    raw = recording.raw
    for pieces in ([raw], cut(raw, seed=recording.id), cut(with_crlf(raw), seed=recording.id)):
        relay = TranslatingRelay(
            UPSTREAM.stream_reader(Conversation([])),
            CALLER.stream_writer(REQUEST, HEARS_ALL, model_id="m"),
            HEARS_ALL,
        )
        sent = b"".join(relay.feed(piece) for piece in pieces) + relay.end()
        assert relay.state.failure is None
        assert relay.state.is_complete is (end is not None)
        outputs.append(sent + relay.finish(b"{}"))
        if end is not None:
            assert buckets(relay.state.usage) == recording.usage
    whole = frames_of(outputs[0])
    check(whole, read=lambda frame: construct_type(type_=ResponseStreamEvent, value=frame))
    for output in outputs[1:]:
        assert [frame["type"] for frame in frames_of(output)] == [frame["type"] for frame in whole]
    if end is not None and recording.name not in SHORTENED:
        assert heard(whole[-1]["response"]["output"]) == heard(end["output"])
        assert whole[-1]["type"] == f"response.{end['status']}"


@pytest.mark.parametrize("recording", ASKED, ids=named)
def test_a_request_is_asked_alike(recording: Recording) -> None:
    request = served(recording)
    assert request is not None
    try:
        asked = CALLER.read_conversation(request)
    except GatewayError as refused:
        assert refused.code == "unsupported_field", refused.message
        return
    body = UPSTREAM.write_conversation(asked, upstream_model=request.model_id, max_tokens=None, account_tag="acc")
    again = CALLER.read_conversation(DIALECTS[OPENAI_RESPONSES].parse(body))
    assert [turn.parts for turn in again.turns] == [turn.parts for turn in asked.turns]
    assert [(tool.name, tool.description, tool.schema, tool.is_custom) for tool in again.tools] == [
        (tool.name, tool.description, tool.schema, tool.is_custom) for tool in asked.tools
    ]
    for name in ("tool_choice", "output_format", "max_tokens", "reasoning", "is_stream"):
        assert getattr(again, name) == getattr(asked, name), name
