"""Whatever a body or a stream contains, what cannot be read is said so in the one way that the gateway knows."""

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
from apps.dialects.protocol import OPENAI_RESPONSES
from apps.dialects.registry import CALLERS, DIALECTS, UPSTREAMS
from tests.dialects.bodies import events_of, parse, relaxed
from tests.dialects.hub.streams import Collector

CALLER, UPSTREAM = CALLERS[OPENAI_RESPONSES], UPSTREAMS[OPENAI_RESPONSES]

TYPES = st.sampled_from(
    ["message", "function_call", "custom_tool_call", "reasoning", "image_generation_call", "function_call_output",
     "custom_tool_call_output", "local_shell_call", "local_shell_call_output", "apply_patch_call", "shell_call_output",
     "web_search_call", "additional_tools", "namespace", "function", "custom", "local_shell", "input_text",
     "output_text", "refusal", "input_image", "input_file", "reasoning_text", "summary_text", "allowed_tools",
     "json_schema"]
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers(-1, 9) | st.text(max_size=5)
FIELDS = ["role", "content", "call_id", "id", "name", "arguments", "input", "output", "summary", "encrypted_content",
          "tools", "action", "operation", "text", "image_url", "file_data", "annotations", "logprobs", "status",
          "result", "namespace", "strict", "parameters", "format", "schema", "mode", "refusal"]  # fmt: skip
VALUES = st.recursive(
    SCALARS | st.sampled_from(["user", "assistant", "system", "data:image/png;base64,AA"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.fixed_dictionaries({"type": TYPES | st.none()}, optional=dict.fromkeys(FIELDS, inner))
    ),
    max_leaves=12,
)
ITEMS = st.fixed_dictionaries({"type": TYPES}, optional=dict.fromkeys(FIELDS, VALUES))


@relaxed
@given(
    items=st.lists(ITEMS, min_size=1, max_size=4),
    tools=st.lists(ITEMS, max_size=3),
    more=st.dictionaries(
        st.sampled_from(["tool_choice", "text", "reasoning", "include", "instructions", "metadata", "stop", "user"]),
        VALUES,
        max_size=3,
    ),
)
def test_a_request_is_translated_or_refused(items: list[Any], tools: list[Any], more: dict[str, Any]) -> None:
    body = json.dumps({"model": "m", "input": items, "tools": tools, **more}).encode()
    try:
        request = DIALECTS[OPENAI_RESPONSES].parse(body)
        asked = CALLER.read_conversation(DIALECTS[OPENAI_RESPONSES].without_foreign(request))
        sent = UPSTREAM.write_conversation(asked, upstream_model="gpt-5.6", max_tokens=None, account_tag="acc")
    except GatewayError as refused:
        assert refused.code in ("invalid_request", "unsupported_field")
        return
    assert json.loads(sent)["store"] is False
    for line in asked.adapted:
        assert line.isascii()
        assert line.isprintable()


KINDS = st.sampled_from(
    ["response.created", "response.output_item.added", "response.output_item.done", "response.content_part.added",
     "response.content_part.done", "response.output_text.delta", "response.output_text.annotation.added",
     "response.refusal.delta", "response.function_call_arguments.delta", "response.custom_tool_call_input.delta",
     "response.reasoning_text.delta", "response.reasoning_summary_text.delta", "response.completed",
     "response.incomplete", "response.failed", "error", "response.something.new"]
)  # fmt: skip
INDEX = st.integers(0, 1)
STREAMED = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["message", "function_call", "custom_tool_call", "reasoning", "image_generation_call", "web_search_call"]
        ),
        "name": st.just("f"),
    },
    optional={
        "id": st.sampled_from(["rs_1", "msg_1"]),
        "call_id": st.sampled_from(["c1", "c2", None]),
        "arguments": st.just("{}"),
        "input": st.just("x"),
        "content": st.lists(
            st.fixed_dictionaries({"type": st.sampled_from(["output_text", "refusal"]), "text": st.just("t")}),
            max_size=2,
        ),
        "summary": st.lists(st.just({"text": "s"}), max_size=2),
        "encrypted_content": st.sampled_from(["gAAA", "hypereal.anthropic.signature.x", None]),
        "result": st.sampled_from(["iVBO", None]),
    },
)
EVENTS = st.fixed_dictionaries(
    {
        "type": KINDS,
        "output_index": INDEX,
        "content_index": INDEX,
        "summary_index": INDEX,
        "delta": st.text(max_size=3),
        "item": STREAMED,
        "part": st.fixed_dictionaries(
            {"type": st.sampled_from(["output_text", "refusal", "reasoning_text"]), "text": st.just("t")}
        ),
        "annotation": st.just({"type": "url_citation", "url": "u"}),
        "response": st.fixed_dictionaries(
            {"id": st.just("resp_1"), "output": st.lists(STREAMED, max_size=2)},
            optional={"status": st.sampled_from(["completed", "incomplete"])},
        ),
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
    writer = CALLER.stream_writer(parse("responses", stream=True), asked, model_id="m")
    relay = TranslatingRelay(UPSTREAM.stream_reader(asked), writer)
    out = b"".join(relay.feed(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()) for event in sent)
    frames = events_of(out + relay.finish(b"{}"))
    assert [frame["sequence_number"] for frame in frames] == list(range(len(frames)))
    assert (frames[0]["type"], frames[-1]["response"]["hypereal"]) == ("response.created", {})


@relaxed
@given(output=st.lists(ITEMS, max_size=4), status=st.sampled_from(["completed", "incomplete", "failed", None]))
def test_a_reply_is_read_or_said_to_be_none(output: list[Any], status: str | None) -> None:
    body = json.dumps({"id": "resp_1", "status": status, "output": output}).encode()
    try:
        answer = UPSTREAM.read_answer(body)
    except UNREADABLE:
        return
    written = CALLER.write_answer(answer, Conversation([]), model_id="m", hypereal=b"{}")
    assert json.loads(written)["object"] == "response"
