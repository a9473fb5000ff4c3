"""Whatever a caller or a provider sends, the answer is one of those that the gateway knows: no call ends in a crash."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import GatewayError
from apps.core.tokens import TokenUsage
from apps.dialects.common.json_body import UNREADABLE
from apps.dialects.hub.exchange import Exchange, TranslatingRelay
from apps.dialects.protocol import Request
from apps.dialects.registry import CALLERS, DIALECTS, UPSTREAMS
from tests.dialects.bodies import relaxed

Path = tuple[str | int, ...]

odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.sampled_from(
        ["", "text", "\ud800", "hypereal.", "hypereal.gemini.encrypted~c1.x", "data:", "{", "a" * 300, "é"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "id", "x"]), inner),
    max_leaves=4,
)

TOOL: Final = {"name": "f", "description": "d", "parameters": {"type": "object"}}
REQUESTS: Final[dict[str, dict[str, Any]]] = {
    "openai-chat": {
        "model": "m",
        "messages": [
            {"role": "system", "content": "S", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            {
                "role": "user",
                "name": "a",
                "content": [
                    {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO", "detail": "low"}},
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "a"}},
                ],
            },
            {
                "role": "assistant",
                "content": "x",
                "refusal": "no",
                "reasoning_content": "hm",
                "reasoning_details": [
                    {
                        "type": "reasoning.text",
                        "text": "t",
                        "signature": "s",
                        "format": "anthropic-claude-v1",
                        "index": 0,
                    },
                    {"type": "reasoning.encrypted", "data": "d", "format": "google-gemini-v1", "id": "hypereal.c1"},
                    {"type": "reasoning.x", "format": "other", "data": "d"},
                ],
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}"},
                        "extra_content": {"google": {"thought_signature": "s"}},
                    },
                    {"id": "c2", "type": "custom", "custom": {"name": "p", "input": "x"}},
                ],
                "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "r"}]},
        ],
        "tools": [
            {"type": "function", "function": {**TOOL, "strict": True}},
            {"type": "custom", "custom": {"name": "p", "format": {"type": "text"}}},
        ],
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [{"function": {"name": "f"}}]},
        },
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
        "stop": ["a"],
        "temperature": 0.5,
        "reasoning": {"effort": "low", "max_tokens": 10},
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "logprobs": True,
        "metadata": {"a": "b"},
        "image_config": {"aspect_ratio": "1:1"},
        "modalities": ["text"],
        "max_tokens": 100,
        "cache_control": {"type": "ephemeral"},
    },
}

USAGE: Final = {"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 1}}
CHAT_CALL: Final = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"a": 1}}
DETAIL: Final = {"type": "reasoning.text", "text": "t", "signature": "s", "format": "f", "index": 0}
IMAGE: Final = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}
GEMINI_PART: Final = {
    "text": "a",
    "thoughtSignature": "s",
    "functionCall": {"name": "f", "args": {}, "partialArgs": [{"jsonPath": "$.a[0]", "stringValue": "x"}]},
    "inlineData": {"mimeType": "image/png", "data": "iVBO"},
}
CHUNKS: Final[dict[str, list[dict[str, Any]]]] = {
    "openai-chat": [
        {"id": "x", "created": 1, "choices": [{"index": 0, "delta": {"content": "a", "reasoning": "r"}}]},
        {
            "choices": [
                {"index": 0, "delta": {"reasoning_details": [DETAIL], "images": [IMAGE], "tool_calls": [CHAT_CALL]}}
            ]
        },
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "logprobs": {"content": [{"token": "a"}]}}]},
        {"choices": [], "usage": USAGE, "x_groq": {"usage": USAGE}, "error": None},
    ],
    "gemini": [
        {"candidates": [{"content": {"parts": [{"text": "a", "thought": True}, {"text": "b"}]}}], "responseId": "r"},
        {
            "candidates": [
                {"content": {"parts": [GEMINI_PART]}, "logprobsResult": {"chosenCandidates": [{"token": "a"}]}}
            ]
        },
        {
            "candidates": [{"content": {"parts": []}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 5, "candidatesTokensDetails": [{"modality": "IMAGE"}]},
            "promptFeedback": {"blockReason": None},
        },
    ],
}
REPLIES: Final[dict[str, dict[str, Any]]] = {
    "openai-chat": {
        "id": "x",
        "created": 1,
        "choices": [
            {
                "index": 0,
                "message": {
                    "content": "a",
                    "refusal": "r",
                    "reasoning": "t",
                    "reasoning_details": [DETAIL],
                    "images": [IMAGE],
                    "tool_calls": [CHAT_CALL],
                },
                "logprobs": {"content": [{"token": "a"}]},
                "finish_reason": "stop",
                "native_finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    },
    "gemini": {
        "candidates": [{"content": {"parts": [{"text": "a"}, GEMINI_PART]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 5},
    },
}


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    yield at
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        yield from paths(member, (*at, name))


def changed(value: Any, at: Path, new: Any) -> Any:
    if not at:
        return new
    made = copy.deepcopy(value)
    holder = made
    for step in at[:-1]:
        holder = holder[step]
    holder[at[-1]] = new
    return made


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("caller", REQUESTS)
@relaxed
@given(data=st.data())
def test_an_odd_request_is_written_or_refused(caller: str, upstream: str, data: st.DataObject) -> None:
    valid = REQUESTS[caller]
    at = data.draw(st.sampled_from([path for path in paths(valid) if path]))
    body = changed(valid, at, data.draw(odd))
    try:
        request = DIALECTS[caller].parse(json.dumps(body).encode())
        made = Exchange(CALLERS[caller], UPSTREAMS[upstream], request)
        written = made.upstream_body(upstream_model="theirs", max_tokens=50, account_tag="acc")
    except GatewayError:
        return
    json.loads(written)
    assert all(line.isprintable() and line.isascii() for line in made.adapted)


def written_stream(caller: str, upstream: str, chunks: list[Any]) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "openai-chat": {"messages": [{"role": "user", "content": "x"}]},
        "openai-responses": {"input": "x"},
        "anthropic-messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 9},
    }
    request: Request = DIALECTS[caller].parse(json.dumps({"model": "m", "stream": True, **bodies[caller]}).encode())
    asked = CALLERS[caller].read_conversation(request)
    writer = CALLERS[caller].stream_writer(request, asked, model_id="m")
    relay = TranslatingRelay(UPSTREAMS[upstream].stream_reader(asked), writer, asked)
    for chunk in chunks:
        relay.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    relay.end()
    state = relay.state
    if state.is_complete:
        state.usage = state.usage or TokenUsage(1, output=1)
        relay.finish(b'{"billing":{}}')


@pytest.mark.parametrize("upstream", CHUNKS)
@pytest.mark.parametrize("caller", CALLERS)
@relaxed
@given(data=st.data())
def test_an_odd_stream_is_told_or_fails(caller: str, upstream: str, data: st.DataObject) -> None:
    valid: Any = CHUNKS[upstream]
    at = data.draw(st.sampled_from([path for path in paths(valid) if path]))
    written_stream(caller, upstream, changed(valid, at, data.draw(odd)))


@pytest.mark.parametrize("upstream", REPLIES)
@pytest.mark.parametrize("caller", CALLERS)
@relaxed
@given(data=st.data())
def test_an_odd_reply_is_told_or_is_none(caller: str, upstream: str, data: st.DataObject) -> None:
    valid = REPLIES[upstream]
    at = data.draw(st.sampled_from([path for path in paths(valid) if path]))
    body = json.dumps(changed(valid, at, data.draw(odd))).encode()
    request = DIALECTS["openai-chat"].parse(b'{"model":"m","messages":[{"role":"user","content":"x"}]}')
    made = Exchange(CALLERS["openai-chat"], UPSTREAMS[upstream], request)
    try:
        made.read_reply(body)
    except UNREADABLE:
        return
    answer = UPSTREAMS[upstream].read_answer(body)
    json.loads(CALLERS[caller].write_answer(answer, made.conversation, model_id="m", hypereal=b"{}"))
