"""Recorded Messages exchanges go through the hub and come out saying the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apps.core.errors import GatewayError
from apps.dialects.hub.conversation import Conversation, Text, ToolCall, Turn
from apps.dialects.hub.exchange import TranslatingRelay
from apps.dialects.protocol import ANTHROPIC_MESSAGES, Request
from apps.dialects.registry import CALLERS, DIALECTS, UPSTREAMS
from tests.corpus.recordings import RECORDINGS, Recording, cut, events_of, named, needs_corpus, with_crlf
from tests.corpus.test_usage import buckets
from tests.dialects.anthropic_messages.test_writer import message_of
from tests.dialects.bodies import events_of as frames_of
from tests.dialects.bodies import parse

pytestmark = needs_corpus

CALLER = CALLERS[ANTHROPIC_MESSAGES]
UPSTREAM = UPSTREAMS[ANTHROPIC_MESSAGES]
REQUEST = parse("messages", stream=True)
OURS = [one for one in RECORDINGS if one.dialect == ANTHROPIC_MESSAGES and one.status == 200]
PLAIN = [one for one in OURS if not one.is_stream]
STREAMS = [one for one in OURS if one.is_stream and "midstream_error" not in one.features]
HEARD = {
    "text": ("text",),
    "thinking": ("thinking", "signature"),
    "redacted_thinking": ("data",),
    "tool_use": ("id", "name", "input"),
}
"""Blocks that the hub has a word for, and what of them it keeps. Results of hosted tools are left out whole."""


def heard(content: list[dict[str, Any]]) -> list[Any]:
    said = [
        [block["type"], *(block.get(name) for name in HEARD[block["type"]])]
        for block in content
        if block["type"] in HEARD
    ]
    return [block for block in said if block[1:] not in ([""], ["", ""])]


def recorded_message(recording: Recording) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Content and ending of a recorded stream, put together by hand."""
    content: list[dict[str, Any]] = []
    inputs: dict[int, str] = {}
    ending: dict[str, Any] = {}
    for event in (one.json for one in events_of(recording.raw)):
        if event["type"] == "content_block_start":
            content.append(dict(event["content_block"]))
        elif event["type"] == "message_delta":
            ending = event["delta"]
        elif event["type"] == "content_block_delta":
            block, delta = content[event["index"]], event["delta"]
            if delta["type"] == "input_json_delta":
                inputs[event["index"]] = inputs.get(event["index"], "") + delta["partial_json"]
            for name in ("text", "thinking", "signature"):
                if name in delta:
                    block[name] = (block.get(name) or "") + delta[name]
    for index, text in inputs.items():
        if text:
            content[index]["input"] = json.loads(text)
    return content, ending


@pytest.mark.parametrize("recording", PLAIN, ids=named)
def test_a_plain_reply_says_the_same(recording: Recording) -> None:
    answer = UPSTREAM.read_answer(recording.raw)
    assert buckets(answer.usage) == recording.usage
    written = CALLER.write_answer(answer, Conversation([]), model_id="m", hypereal=b"{}")
    shown = json.loads(written)
    assert heard(shown["content"]) == heard(recording.body["content"])
    for name in ("id", "stop_reason", "stop_sequence"):
        assert shown[name] == recording.body[name]
    assert UPSTREAM.read_answer(written).choices[0].parts == [
        part if not isinstance(part, Text) else Text(part.text) for part in answer.choices[0].parts
    ]


@pytest.mark.parametrize("recording", STREAMS, ids=named)
def test_a_stream_says_the_same(recording: Recording) -> None:
    outputs = []
    raw = recording.raw
    for pieces in ([raw], cut(raw, seed=recording.id), cut(with_crlf(raw), seed=recording.id)):
        relay = TranslatingRelay(
            UPSTREAM.stream_reader(Conversation([])),
            CALLER.stream_writer(REQUEST, Conversation([]), model_id="m"),
        )
        sent = b"".join(relay.feed(piece) for piece in pieces) + relay.end()
        assert relay.state.failure is None
        assert relay.state.is_complete
        assert buckets(relay.state.usage) == recording.usage
        outputs.append(frames_of(sent + relay.finish(b"{}")))
    content, ending = recorded_message(recording)
    message = message_of(outputs[0])
    assert heard(message["content"]) == heard(content)
    assert message["stop_reason"] == ending["stop_reason"]
    assert message["stop_sequence"] == ending["stop_sequence"]
    assert outputs[1:] == [outputs[0], outputs[0]]


def served(recording: Recording) -> Conversation | None:
    """The request, where no table of price, model or state fields refuses it, nor the hub its meaning."""
    try:
        request: Request = DIALECTS[ANTHROPIC_MESSAGES].parse(json.dumps(recording.request).encode())
        return CALLER.read_conversation(request)
    except GatewayError as refused:
        assert refused.code == "unsupported_field", refused.message
        return None


@pytest.mark.parametrize("recording", [one for one in OURS if one.request is not None], ids=named)
def test_a_request_is_asked_alike(recording: Recording) -> None:
    asked = served(recording)
    if asked is None:
        return
    body = UPSTREAM.write_conversation(asked, upstream_model="claude-opus-4-6", max_tokens=None, account_tag="acc")
    again = CALLER.read_conversation(DIALECTS[ANTHROPIC_MESSAGES].parse(body))
    assert told(again) == told(asked)
    assert [(tool.name, tool.description, tool.schema, tool.cache) for tool in again.tools] == [
        (tool.name, tool.description, tool.schema, tool.cache) for tool in asked.tools
    ]
    for name in ("tool_choice", "output_format", "max_tokens", "stop", "is_stream"):
        assert getattr(again, name) == getattr(asked, name), name


def told(conversation: Conversation) -> list[Any]:
    """Turns of one role as one, the system's in front; without what begins an answer and ends in white space."""
    turns = sorted(conversation.turns, key=lambda turn: turn.role != "system")
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1].role == turn.role:
            merged[-1] = Turn(turn.role, [*merged[-1].parts, *turn.parts])
        else:
            merged.append(Turn(turn.role, turn.parts))
    return [
        (turn.role, [json.loads(part.arguments) if isinstance(part, ToolCall) else part for part in turn.parts])
        for turn in merged
    ]
