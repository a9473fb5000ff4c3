"""Calls between a caller's endpoint and an upstream of any dialect, with small streams and replies written by hand."""

from __future__ import annotations

import json
from typing import Any

from apps.core.tokens import TokenUsage
from apps.dialects.passage import Passage, passages
from apps.dialects.protocol import GEMINI, OPENAI_CHAT, OPENAI_RESPONSES
from apps.dialects.registry import BY_ENDPOINT
from tests.dialects.anthropic_messages.test_writer import message_of
from tests.dialects.bodies import events_of, frames, parse, run, typed

BILLING = b'{"billing":{"credits_charged":12}}'
TOOLS = [{"name": "grep", "input_schema": {"type": "object"}}, {"name": "ls", "input_schema": {"type": "object"}}]

Event = dict[str, Any]


def passage(endpoint: str, upstream: str, **fields: Any) -> Passage:
    """The way of a call from a caller's endpoint to an upstream that speaks this dialect."""
    (found,) = passages(BY_ENDPOINT[endpoint], parse(endpoint, **fields), [upstream])
    return found


def sent(endpoint: str, upstream: str, **fields: Any) -> Any:
    body = passage(endpoint, upstream, **fields).upstream_body(
        upstream_model="theirs", max_tokens=500, account_tag="acc"
    )
    return json.loads(body)


def streamed(endpoint: str, upstream: str, stream: bytes, **fields: Any) -> tuple[list[Event], TokenUsage | None]:
    """What the caller sees of the upstream's stream, and what is metered."""
    way = passage(endpoint, upstream, stream=True, **fields)
    way.upstream_body(upstream_model="theirs", max_tokens=500, account_tag="acc")
    relay = way.relay(model_id="ours")
    shown = run(relay, [stream])
    assert relay.state.failure is None
    assert relay.state.is_complete
    return events_of(shown + relay.finish(BILLING)), relay.state.usage


def replied(endpoint: str, upstream: str, reply: Event, **fields: Any) -> tuple[Event, TokenUsage | None]:
    """The caller's plain reply, and what is metered."""
    way = passage(endpoint, upstream, **fields)
    way.upstream_body(upstream_model="theirs", max_tokens=500, account_tag="acc")
    body = json.dumps(reply).encode()
    usage = way.read_reply(body).usage
    return json.loads(way.render_reply(body, model_id="ours", hypereal=BILLING)), usage


def chat_stream(*deltas: Event, finish: str = "stop", usage: Event | None = None) -> bytes:
    def chunk(delta: Event, finish_reason: str | None = None) -> Event:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "x", "choices": [choice]}

    counted = usage or {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    last = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "x", "choices": []}
    return frames(
        chunk({"role": "assistant", "content": ""}),
        *map(chunk, deltas),
        chunk({}, finish),
        {**last, "usage": counted},
        "[DONE]",
    )


def messages_stream(*blocks: tuple[Event, list[Event]], usage: Event, final: Event, stop: str = "end_turn") -> bytes:
    events: list[Event] = [{"type": "message_start", "message": {"id": "msg_1", "usage": usage}}]
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": final})
    return typed(*events, {"type": "message_stop"})


TEXT_BLOCK: tuple[Event, list[Event]] = ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "Hi"}])


def call_delta(index: int, *, id: str | None = None, name: str | None = None, arguments: str | None = None) -> Event:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {"tool_calls": [{"index": index, **({"id": id} if id else {}), "function": function}]}


def blocks_of(events: list[Event]) -> list[Event]:
    content: list[Event] = message_of(events)["content"]
    return content


CACHED = {
    "prompt_tokens": 100,
    "completion_tokens": 5,
    "total_tokens": 105,
    "prompt_tokens_details": {"cached_tokens": 60},
}
RESPONSE = {"id": "resp_1", "object": "response", "created_at": 1, "model": "x", "status": "completed", "output": []}
COUNTED = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 60},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 105,
}
CACHED_STREAMS = {
    OPENAI_CHAT: chat_stream({"content": "Hi"}, usage=CACHED),
    OPENAI_RESPONSES: typed(
        {"type": "response.created", "sequence_number": 0, "response": {**RESPONSE, "status": "in_progress"}},
        {"type": "response.completed", "sequence_number": 1, "response": {**RESPONSE, "usage": COUNTED}},
    ),
    GEMINI: frames(
        {
            "candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 100, "cachedContentTokenCount": 60, "candidatesTokenCount": 5},
        }
    ),
}
