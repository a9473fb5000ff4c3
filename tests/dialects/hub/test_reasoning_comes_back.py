"""Reasoning that an upstream sealed comes back to it as it was, through callers of every dialect: plain and streamed.

The first turn's reply goes to the caller; the caller's client sends it back with the tool's result, as clients do; the
second request reaches the upstream with its own bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from openai.lib.streaming._deltas import accumulate_delta

from apps.dialects.hub.exchange import Exchange
from apps.dialects.registry import BY_ENDPOINT, CALLERS, UPSTREAMS
from tests.dialects import bodies
from tests.dialects.hub.streams import events_of, written

Body = dict[str, Any]
CALL: Final = {"city": "Paris"}
TOOL: Final = {"type": "object", "properties": {"city": {"type": "string"}}}
USAGE: Final[dict[str, Body]] = {
    "openai-chat": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
    "anthropic-messages": {"input_tokens": 5, "output_tokens": 7},
    "openai-responses": {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12},
    "gemini": {"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12},
}
ENDPOINTS: Final = {"openai-chat": "chat", "anthropic-messages": "messages", "openai-responses": "responses"}


# What an upstream says in its first turn, and what it must see of that in the second request.

CHAT_CALL: Final = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": json.dumps(CALL)},
}
DETAILS: Final = [
    {
        "type": "reasoning.text",
        "signature": "EqQB/+=",
        "format": "anthropic-claude-v1",
        "text": "Let me see.",
        "index": 0,
    }
]
THINKING: Final = [
    {"type": "thinking", "thinking": "Let me see.", "signature": "EqQB/+="},
    {"type": "redacted_thinking", "data": "RED/+="},
]
TOOL_USE: Final = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": CALL}
REASONING: Final = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Let me see."}],
    "encrypted_content": "gAAA/+=",
}
FUNCTION_CALL: Final = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": json.dumps(CALL)}
GEMINI_PARTS: Final = [
    {"text": "I look.", "thoughtSignature": "TEXT/+="},
    {"functionCall": {"id": "fc1", "name": "weather", "args": CALL}, "thoughtSignature": "CALL/+="},
]


def chat(message: Body) -> Body:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": "tool_calls"}
    return {"id": "chatcmpl-1", "created": 1, "model": "theirs", "choices": [choice]}


REPLIES: Final[dict[str, tuple[str, Body]]] = {
    "deepseek": ("openai-chat", chat({"reasoning_content": "Let me see.", "tool_calls": [CHAT_CALL]})),
    "router": (
        "openai-chat",
        chat({"reasoning": "Let me see.", "reasoning_details": DETAILS, "tool_calls": [CHAT_CALL]}),
    ),
    "google's chat": (
        "openai-chat",
        chat({"tool_calls": [{**CHAT_CALL, "extra_content": {"google": {"thought_signature": "CALL/+="}}}]}),
    ),
    "anthropic": (
        "anthropic-messages",
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "theirs",
            "content": [*THINKING, TOOL_USE],
            "stop_reason": "tool_use",
        },
    ),
    "openai": (
        "openai-responses",
        {
            "id": "resp_1",
            "object": "response",
            "status": "completed",
            "model": "theirs",
            "output": [REASONING, {**FUNCTION_CALL, "id": "fc_1", "status": "completed"}],
        },
    ),
    "gemini": ("gemini", {"candidates": [{"content": {"parts": GEMINI_PARTS}, "finishReason": "STOP", "index": 0}]}),
}


def seen(provider: str, body: Body) -> Any:
    """Those parts of the second request that repeat the first answer."""
    if provider == "gemini":
        [content] = [content for content in body["contents"] if content["role"] == "model"]
        return content["parts"]
    if provider == "openai":
        return [item for item in body["input"] if item.get("type") in ("reasoning", "function_call")]
    [message] = [message for message in body["messages"] if message["role"] == "assistant"]
    return message["content"] if provider == "anthropic" else message


EXPECTED: Final[dict[str, Callable[[Any], bool]]] = {
    "deepseek": lambda seen: (seen["reasoning_content"], seen["tool_calls"]) == ("Let me see.", [CHAT_CALL]),
    "router": lambda seen: (seen["reasoning_details"], seen["tool_calls"]) == (DETAILS, [CHAT_CALL]),
    "google's chat": lambda seen: (
        seen["tool_calls"] == [{**CHAT_CALL, "extra_content": {"google": {"thought_signature": "CALL/+="}}}]
    ),
    "anthropic": lambda seen: seen == [*THINKING, TOOL_USE],
    "openai": lambda seen: (
        seen[0]["encrypted_content"] == "gAAA/+="
        and seen[0]["summary"] == REASONING["summary"]
        and (seen[1]["call_id"], json.loads(seen[1]["arguments"])) == ("call_1", CALL)
    ),
    "gemini": lambda seen: seen == GEMINI_PARTS,
}


PAIRS: Final = pytest.mark.parametrize(
    ("caller", "provider"),
    [(caller, provider) for caller in CALLERS for provider in REPLIES if REPLIES[provider][0] != caller],
)
"""Where both speak the same, bytes pass through."""


# How a caller's client asks, takes the answer, and sends it back.


def first_body(caller: str, **more: Any) -> Body:
    if caller == "openai-chat":
        tool = {"type": "function", "function": {"name": "weather", "parameters": TOOL}}
        return {"model": "m", "messages": [{"role": "user", "content": "Weather?"}], "tools": [tool], **more}
    if caller == "openai-responses":
        tool = {"type": "function", "name": "weather", "parameters": TOOL}
        asked = {"store": False, "include": ["reasoning.encrypted_content"]}
        return {"model": "m", "input": [{"role": "user", "content": "Weather?"}], "tools": [tool], **asked, **more}
    tool = {"name": "weather", "input_schema": TOOL}
    messages = [{"role": "user", "content": "Weather?"}]
    return {"model": "m", "max_tokens": 9_000, "messages": messages, "tools": [tool], **more}


def second_body(caller: str, answer: Any) -> Body:
    """`answer`: chat's message, messages' content, responses' output."""
    body = first_body(caller)
    if caller == "openai-chat":
        result = {"role": "tool", "tool_call_id": answer["tool_calls"][0]["id"], "content": "Sunny"}
        body["messages"] += [answer, result]
    elif caller == "openai-responses":
        [call_id] = [item["call_id"] for item in answer if item["type"] == "function_call"]
        body["input"] += [*answer, {"type": "function_call_output", "call_id": call_id, "output": "Sunny"}]
    else:
        [call_id] = [block["id"] for block in answer if block["type"] == "tool_use"]
        result = {"type": "tool_result", "tool_use_id": call_id, "content": "Sunny"}
        body["messages"] += [{"role": "assistant", "content": answer}, {"role": "user", "content": [result]}]
    return body


def taken(caller: str, reply: Body) -> Any:
    if caller == "openai-chat":
        return reply["choices"][0]["message"]
    return reply["output"] if caller == "openai-responses" else reply["content"]


def gathered(caller: str, stream: bytes) -> Any:
    """What the caller's client makes of a stream."""
    events = [event for event in bodies.events_of(stream) if event != "[DONE]"]
    if caller == "openai-responses":
        return next(event["response"]["output"] for event in events if event["type"] == "response.completed")
    if caller == "openai-chat":
        message: dict[Any, Any] = {}
        for event in events:
            for choice in event["choices"]:
                accumulate_delta(message, choice["delta"])
        for call in message["tool_calls"]:
            del call["index"]
        return message
    snapshot: Any = None
    fragments: dict[int, bytes] = {}
    for event in events:
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=fragments)
    return [block.to_dict() for block in snapshot.content]


def exchange(caller: str, upstream: str, body: Body) -> Exchange:
    request = BY_ENDPOINT[ENDPOINTS[caller]].parse(json.dumps(body).encode())
    return Exchange(CALLERS[caller], UPSTREAMS[upstream], request)


def sent(made: Exchange) -> Body:
    decoded: Body = json.loads(made.upstream_body(upstream_model="theirs", max_tokens=None, account_tag="acc"))
    return decoded


@PAIRS
def test_a_plain_reply_that_is_sent_back_brings_the_upstreams_reasoning_back(caller: str, provider: str) -> None:
    upstream, reply = REPLIES[provider]
    first = exchange(caller, upstream, first_body(caller))
    sent(first)
    counted = "usageMetadata" if upstream == "gemini" else "usage"
    raw = json.dumps({**reply, counted: USAGE[upstream]}).encode()
    first.read_reply(raw)
    shown = json.loads(first.render_reply(raw, model_id="m", hypereal=b"{}"))
    again = seen(provider, sent(exchange(caller, upstream, second_body(caller, taken(caller, shown)))))
    assert EXPECTED[provider](again), again


@PAIRS
def test_a_stream_that_is_sent_back_brings_the_upstreams_reasoning_back(caller: str, provider: str) -> None:
    upstream, reply = REPLIES[provider]
    body = first_body(caller, stream=True)
    first = exchange(caller, upstream, body)
    sent(first)
    counted = "usageMetadata" if upstream == "gemini" else "usage"
    answer = UPSTREAMS[upstream].read_answer(json.dumps({**reply, counted: USAGE[upstream]}).encode())
    request = BY_ENDPOINT[ENDPOINTS[caller]].parse(json.dumps(body).encode())
    writer = CALLERS[caller].stream_writer(request, first.conversation, model_id="m")
    stream = written(writer, events_of(answer))
    again = seen(provider, sent(exchange(caller, upstream, second_body(caller, gathered(caller, stream)))))
    assert EXPECTED[provider](again), again
