"""Whatever a body, a reply or a stream contains: what cannot be read is said so in the one way the gateway knows."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import GatewayError
from apps.dialects.common.json_body import UNREADABLE
from apps.dialects.common.sse import Event
from apps.dialects.hub.conversation import Conversation
from apps.dialects.hub.events import Done, Failed, HubEvent
from apps.dialects.hub.exchange import TranslatingRelay
from apps.dialects.protocol import ANTHROPIC_MESSAGES
from apps.dialects.registry import CALLERS, DIALECTS, UPSTREAMS
from tests.dialects.anthropic_messages.test_writer import message_of
from tests.dialects.bodies import events_of, parse, relaxed
from tests.dialects.hub.streams import Collector

CALLER, UPSTREAM = CALLERS[ANTHROPIC_MESSAGES], UPSTREAMS[ANTHROPIC_MESSAGES]

TYPES = st.sampled_from(
    ["text", "thinking", "redacted_thinking", "tool_use", "tool_result", "image", "document", "search_result",
     "server_tool_use", "web_search_tool_result", "base64", "url", "content", "custom", "bash_20250124", "json_schema",
     "enabled", "adaptive", "auto", "any", "tool"]
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers(-1, 9) | st.text(max_size=5)
FIELDS = ["role", "content", "id", "name", "input", "tool_use_id", "is_error", "source", "media_type", "data", "url",
          "text", "thinking", "signature", "cache_control", "citations", "title", "context", "ttl", "input_schema",
          "description", "strict", "schema", "format", "effort", "budget_tokens", "user_id", "display"]  # fmt: skip
VALUES = st.recursive(
    SCALARS | st.sampled_from(["user", "assistant", "system", "hypereal.openai.encrypted.x", "image/png"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.fixed_dictionaries({"type": TYPES | st.none()}, optional=dict.fromkeys(FIELDS, inner))
    ),
    max_leaves=12,
)
BLOCKS = st.fixed_dictionaries({"type": TYPES}, optional=dict.fromkeys(FIELDS, VALUES))
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]), "content": st.lists(BLOCKS, max_size=3) | VALUES}
)


@relaxed
@given(
    messages=st.lists(MESSAGES, min_size=1, max_size=3),
    tools=st.lists(BLOCKS, max_size=2),
    more=st.dictionaries(
        st.sampled_from(["system", "tool_choice", "thinking", "output_config", "metadata", "stop_sequences", "top_p"]),
        VALUES,
        max_size=3,
    ),
    upstream=st.sampled_from(sorted(UPSTREAMS)),
)
def test_a_request_is_translated_or_refused(
    messages: list[Any], tools: list[Any], more: dict[str, Any], upstream: str
) -> None:
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": messages, "tools": tools, **more}).encode()
    dialect = DIALECTS[ANTHROPIC_MESSAGES]
    try:
        request = dialect.parse(body)
        dialect.without_foreign(request)
        asked = CALLER.read_conversation(dialect.without_reasoning(request))
        asked = CALLER.read_conversation(request)
        sent = UPSTREAMS[upstream].write_conversation(asked, upstream_model="x", max_tokens=None, account_tag="acc")
    except GatewayError as refused:
        assert refused.code in ("invalid_request", "unsupported_field", "not_found")
        return
    json.loads(sent)
    for line in asked.adapted:
        assert line.isascii()
        assert line.isprintable()


@relaxed
@given(
    content=st.lists(BLOCKS, max_size=4) | VALUES,
    more=st.dictionaries(st.sampled_from(["id", "stop_reason", "stop_details", "usage", "error", "type"]), VALUES),
)
def test_a_reply_is_read_or_is_none(content: Any, more: dict[str, Any]) -> None:
    try:
        answer = UPSTREAM.read_answer(json.dumps({"content": content, **more}).encode())
    except ValueError:
        return
    for caller in CALLERS.values():
        if answer.failure is None:
            json.loads(caller.write_answer(answer, Conversation([]), model_id="m", hypereal=b"{}"))


KINDS = st.sampled_from(
    ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
     "message_stop", "ping", "error", "something_new"]
)  # fmt: skip
STREAMED = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "thinking", "redacted_thinking", "tool_use", "server_tool_use"])},
    optional={
        "id": st.just("t"),
        "name": st.just("f"),
        "text": st.text(max_size=3),
        "thinking": st.text(max_size=3),
        "signature": st.text(max_size=3),
        "data": st.just("EmwK"),
        "input": st.sampled_from([{}, {"q": 1}, None]),
    },
)
EVENTS = st.fixed_dictionaries(
    {
        "type": KINDS,
        "index": st.integers(0, 2),
        "content_block": STREAMED,
        "delta": st.fixed_dictionaries(
            {},
            optional={
                "text": st.text(max_size=3),
                "partial_json": st.text(max_size=3),
                "thinking": st.text(max_size=3),
                "signature": st.text(max_size=3),
                "citation": st.just({}),
                "stop_reason": st.sampled_from(["end_turn", "tool_use", None]),
            },
        ),
        "message": st.just({"id": "msg_1", "usage": {"input_tokens": 1, "output_tokens": 1}}),
        "usage": st.sampled_from([None, {"output_tokens": 3}]),
    }
)
"""Every event has every field, so that each is read as far as its kind goes."""


@relaxed
@given(sent=st.lists(EVENTS, max_size=12))
def test_a_stream_is_always_one_that_writers_can_take(sent: list[dict[str, Any]]) -> None:
    """Every block begins before it goes on, ends once, and nothing follows the end."""
    reader = UPSTREAM.stream_reader(Conversation([]))
    collector = Collector()
    for event in sent:
        try:
            found: list[HubEvent] = list(reader.feed(Event(event["type"].encode(), json.dumps(event).encode())))
        except UNREADABLE:
            return
        collector.take(found)
        if any(isinstance(one, Done | Failed) for one in found):
            break
    if collector.is_done:
        collector.collected()


@relaxed
@given(sent=st.lists(EVENTS, max_size=12))
def test_what_a_caller_gets_of_it_is_a_stream(sent: list[dict[str, Any]]) -> None:
    asked = Conversation([])
    writer = CALLER.stream_writer(parse("messages", stream=True), asked, model_id="m")
    relay = TranslatingRelay(UPSTREAM.stream_reader(asked), writer)
    out = b"".join(relay.feed(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()) for event in sent)
    frames = events_of(out + relay.finish(b"{}"))
    for frame in frames:
        # What a call's arguments are is the upstream's business; here they are anything.
        if frame.get("delta", {}).get("type") == "input_json_delta":
            frame["delta"]["partial_json"] = ""
    message_of(frames)
