"""Recorded chat and Gemini exchanges go through the hub and come out saying the same."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any, Final

import pytest
from openai.lib.streaming._deltas import accumulate_delta

from apps.core.errors import GatewayError
from apps.dialects.gemini.conversation import write_conversation
from apps.dialects.hub.conversation import Conversation, Text, Turn
from apps.dialects.hub.exchange import TranslatingRelay
from apps.dialects.protocol import GEMINI, OPENAI_CHAT
from apps.dialects.registry import CALLERS, DIALECTS, UPSTREAMS
from tests.corpus.recordings import RECORDINGS, Recording, cut, events_of, named, needs_corpus, with_crlf
from tests.corpus.test_usage import buckets
from tests.dialects.bodies import events_of as frames_of
from tests.dialects.bodies import parse

pytestmark = needs_corpus

CALLER = CALLERS[OPENAI_CHAT]
ASKED: Final = Conversation([], logprobs=0)
OURS = [one for one in RECORDINGS if one.dialect == OPENAI_CHAT and one.status == 200]
GOOGLES = [one for one in RECORDINGS if one.dialect == GEMINI and one.status == 200 and "batch" not in one.id]
UNFINISHED: Final = {"openai-chat-016", "openai-chat-089", "openai-chat-115"}
"""Failures inside of a 200, and a recording that was cut before its end."""

ANSWERED_ELSEWHERE: Final = {"model", "stream", "stream_options", "prompt_cache_key"}
"""Fields that the gateway sets itself."""
RENAMED: Final = {"max_completion_tokens": "max_tokens"}
NEVER_TRANSLATED: Final = {"thinking", "prompt_cache_options", "n", "tools"}
"""Two providers' own switches, one choice, no tools: said by saying nothing, or named in `adapted`."""


def choices_of(recording: Recording) -> dict[int, dict[str, Any]]:
    """What the official client makes of the reply: one message and its ending per choice."""
    if not recording.is_stream:
        return {
            choice["index"]: {**(choice.get("message") or {}), "finish_reason": choice["finish_reason"]}
            for choice in recording.body["choices"]
        }
    return gathered([event.json for event in events_of(recording.raw) if isinstance(event.json, dict)])


def gathered(chunks: list[Any]) -> dict[int, dict[str, Any]]:
    made: dict[int, dict[Any, Any]] = {}
    for chunk in chunks:
        for choice in chunk.get("choices") or ():
            message = made.setdefault(choice["index"], {})
            # The client knows no annotations of routers, which have no index.
            delta = {name: value for name, value in choice["delta"].items() if name not in ("role", "annotations")}
            accumulate_delta(message, deepcopy(delta))
            message["finish_reason"] = choice.get("finish_reason") or message.get("finish_reason")
    return made


def said(message: dict[str, Any]) -> Any:
    calls = [
        (call["id"], call["function"]["name"], json.loads(call["function"].get("arguments") or "{}"))
        for call in message.get("tool_calls") or ()
    ]
    reasoning = message.get("reasoning_content") or message.get("reasoning") or ""
    return message.get("content") or "", message.get("refusal") or "", reasoning, calls, message["finish_reason"]


@pytest.mark.parametrize("recording", [one for one in OURS if one.name not in UNFINISHED], ids=named)
def test_a_chat_reply_says_the_same(recording: Recording) -> None:
    expected = {index: said(message) for index, message in choices_of(recording).items()}
    upstream = UPSTREAMS[OPENAI_CHAT]
    if not recording.is_stream:
        answer = upstream.read_answer(recording.raw)
        shown = json.loads(CALLER.write_answer(answer, ASKED, model_id="m", hypereal=b"{}"))
        told = {
            choice["index"]: said({**choice["message"], "finish_reason": choice["finish_reason"]})
            for choice in shown["choices"]
        }
        assert (told, buckets(answer.usage)) == (expected, recording.usage)
        return
    for pieces in ([recording.raw], cut(recording.raw, seed=recording.id), cut(with_crlf(recording.raw), seed="2")):
        relay, sent = relayed(recording, pieces, n=len(expected))
        told = {index: said(message) for index, message in gathered(sent[:-1]).items()}
        assert (told, buckets(relay.state.usage)) == (expected, recording.usage)


def relayed(recording: Recording, pieces: list[bytes], *, n: int = 1) -> tuple[TranslatingRelay, list[Any]]:
    asked = Conversation([], n=n)
    request = parse("chat", stream=True, stream_options={"include_usage": True})
    writer = CALLER.stream_writer(request, asked, model_id="m")
    relay = TranslatingRelay(UPSTREAMS[recording.dialect].stream_reader(asked), writer, asked)
    sent = b"".join(relay.feed(piece) for piece in pieces)
    sent += relay.end()
    assert (relay.state.failure, relay.state.is_complete) == (None, True)
    return relay, frames_of(sent + relay.finish(b"{}"))


@pytest.mark.parametrize("recording", [one for one in OURS if one.request is not None], ids=named)
def test_a_chat_request_is_asked_alike(recording: Recording) -> None:
    """Every field arrives as it was, or is one that this list names."""
    asked = recording.request or {}
    try:
        conversation = CALLER.read_conversation(DIALECTS[OPENAI_CHAT].parse(json.dumps(asked).encode()))
    except GatewayError as refused:
        assert refused.code in ("unsupported_field", "not_found")
        return
    written = json.loads(
        UPSTREAMS[OPENAI_CHAT].write_conversation(
            conversation, upstream_model="theirs", max_tokens=None, account_tag="acc"
        )
    )
    for name, value in asked.items():
        if name in ANSWERED_ELSEWHERE or name == "messages":
            continue
        found = written.get(RENAMED.get(name, name))
        assert found == value or (name in NEVER_TRANSLATED and found is None), name
    again = CALLER.read_conversation(DIALECTS[OPENAI_CHAT].parse(json.dumps(written).encode()))
    assert list(map(_told, again.turns)) == list(map(_told, conversation.turns))


def _told(turn: Turn) -> Any:
    return "system" if turn.role == "developer" else turn.role, turn.parts, turn.name


def parts_of(recording: Recording) -> list[dict[str, Any]]:
    """What the model said, as it came; text that went on is one part."""
    replies = [event.json for event in events_of(recording.raw)] if recording.is_stream else [recording.body]
    candidates = [candidate for reply in replies for candidate in reply.get("candidates", ())]
    return [part for one in candidates for part in (one.get("content") or {}).get("parts", ())]


@pytest.mark.parametrize("recording", [one for one in GOOGLES if not one.is_stream], ids=named)
def test_a_gemini_answer_that_is_sent_back_is_what_the_model_said(recording: Recording) -> None:
    """But for thoughts that nobody signed, and code that the provider ran itself."""
    answer = UPSTREAMS[GEMINI].read_answer(recording.raw)
    if recording.usage is not None:
        assert buckets(answer.usage) == recording.usage
    kinds = ("text", "functionCall", "inlineData")
    said = [part for part in parts_of(recording) if any(kind in part for kind in kinds)]
    kept = [part for part in said if not part.get("thought") or "thoughtSignature" in part]
    asked = Conversation([Turn("user", [Text("x")]), Turn("assistant", list(answer.choices[0].parts))])
    contents = json.loads(write_conversation(asked, max_tokens=None))["contents"]
    written = contents[1]["parts"] if len(contents) > 1 else []
    assert list(map(_without_id, written)) == list(map(_without_id, kept))


def _without_id(part: dict[str, Any]) -> dict[str, Any]:
    """Calls without an id are given one; the rest is compared whole."""
    call = part.get("functionCall")
    return part if call is None else {**part, "functionCall": {**call, "id": "", "args": call.get("args") or {}}}


@pytest.mark.parametrize("recording", [one for one in GOOGLES if one.is_stream], ids=named)
def test_a_gemini_stream_says_the_same_however_it_is_cut(recording: Recording) -> None:
    parts = parts_of(recording)
    text = "".join(part.get("text") or "" for part in parts if not part.get("thought"))
    thoughts = "".join(part.get("text") or "" for part in parts if part.get("thought"))
    called = [part["functionCall"]["name"] for part in parts if (part.get("functionCall") or {}).get("name")]
    for pieces in ([recording.raw], cut(recording.raw, seed=recording.id), cut(with_crlf(recording.raw), seed="2")):
        relay, sent = relayed(recording, pieces)
        message = gathered(sent[:-1])[0]
        assert ((message.get("content") or ""), message.get("reasoning_content") or "") == (text, thoughts)
        assert [call["function"]["name"] for call in message.get("tool_calls", ())] == called
        assert all(json.loads(call["function"]["arguments"]) is not None for call in message.get("tool_calls", ()))
        assert message["finish_reason"] == ("tool_calls" if called else "stop")
        assert buckets(relay.state.usage) == recording.usage
