"""A Responses body posted to /chat/completions (Cursor does that) is answered in chat."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apps.core.errors import GatewayError
from apps.dialects.passage import Passage, passages
from apps.dialects.protocol import OPENAI_CHAT, OPENAI_RESPONSES, Request
from apps.dialects.registry import DIALECTS
from tests.dialects.bodies import events_of, frames, typed

CHAT = DIALECTS[OPENAI_CHAT]
BODY: dict[str, Any] = {
    "model": "gpt-5-5",
    "input": [
        {"role": "system", "content": "You are a pair programmer."},
        {"role": "user", "content": [{"type": "input_text", "text": "Fix it."}]},
    ],
    "stream": True,
    "stream_options": {"include_usage": True},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "reasoning": {"effort": "high", "summary": "auto"},
    "text": {"verbosity": "low"},
    "tools": [
        {"type": "function", "name": "read_file", "parameters": {"type": "object"}, "strict": False},
        {"type": "custom", "name": "apply_patch", "description": "Patches.", "format": {"type": "text"}},
    ],
    "tool_choice": "auto",
    "user": "u1",
}


def posted(**fields: Any) -> Request:
    return CHAT.parse(json.dumps({**BODY, **fields}).encode())


def passage(spoken: str, **fields: Any) -> Passage:
    (found,) = passages(CHAT, posted(**fields), [spoken])
    return found


def body(found: Passage) -> dict[str, Any]:
    raw = found.upstream_body(upstream_model="gpt-5.5", max_tokens=None, account_tag="acc")
    decoded: dict[str, Any] = json.loads(raw)
    return decoded


def test_it_is_read_as_what_it_is() -> None:
    request = posted(max_tokens=300)
    assert (request.written_in, request.model_id, request.is_stream) == (OPENAI_RESPONSES, "gpt-5-5", True)
    assert (request.max_tokens, request.wants_usage) == (300, True)
    assert posted(stream_options=None).wants_usage is False
    assert posted(max_output_tokens=200, max_completion_tokens=300).max_tokens == 200


def test_an_upstream_of_chat_is_asked_in_chat() -> None:
    found = passage(OPENAI_CHAT)
    sent = body(found)
    assert found.is_translated
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert sent["messages"][1]["content"] in ("Fix it.", [{"type": "text", "text": "Fix it."}])
    assert "input" not in sent
    tools = [(tool["type"], tool[tool["type"]]["name"]) for tool in sent["tools"]]
    assert tools == [("function", "read_file"), ("custom", "apply_patch")]
    assert sent["reasoning_effort"] == "high"


def test_an_upstream_of_responses_is_asked_in_responses() -> None:
    sent = body(passage(OPENAI_RESPONSES, max_tokens=300))
    assert [item["role"] for item in sent["input"]] == ["user"]
    assert sent["instructions"] == "You are a pair programmer."
    assert [tool["type"] for tool in sent["tools"]] == ["function", "custom"]
    assert (sent["max_output_tokens"], sent["reasoning"]) == (300, {"effort": "high", "summary": "auto"})


STREAM = typed(
    {"type": "response.created", "response": {"id": "resp_1", "created_at": 1, "output": []}},
    {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Done."},
    {
        "type": "response.output_item.done",
        "output_index": 1,
        "item": {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "*** Begin"},
    },
    {
        "type": "response.completed",
        "response": {"id": "resp_1", "status": "completed", "usage": {"input_tokens": 9, "output_tokens": 4}},
    },
)


def test_the_answer_is_chat() -> None:
    found = passage(OPENAI_RESPONSES)
    body(found)
    relay = found.relay(model_id="gpt-5-5")
    out = relay.feed(STREAM)
    assert relay.state.is_complete
    chunks = events_of(out + relay.finish(b'{"billing":{}}'))
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks[:-1])
    deltas = [choice["delta"] for chunk in chunks[:-1] for choice in chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "Done."
    assert any(delta.get("tool_calls") for delta in deltas)
    assert chunks[-2]["usage"]["prompt_tokens"] == 9
    assert chunks[-1] == "[DONE]"


def test_a_plain_answer_is_chat_too() -> None:
    found = passage(OPENAI_CHAT, stream=False)
    body(found)
    reply = {
        "id": "chatcmpl-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Done."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
    }
    raw = json.dumps(reply).encode()
    assert found.read_reply(raw).usage is not None
    rendered = json.loads(found.render_reply(raw, model_id="gpt-5-5", hypereal=b"{}"))
    assert (rendered["object"], rendered["choices"][0]["message"]["content"]) == ("chat.completion", "Done.")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"service_tier": "priority"}, "service_tier"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"tools": [{"type": "code_interpreter"}]}, "tools[0].type"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
    ],
)
def test_its_own_tables_apply(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(GatewayError) as refused:
        posted(**fields)
    assert refused.value.param == field


@pytest.mark.parametrize(("fields", "field"), [({"stop": "END"}, "stop"), ({"n": 2}, "n")])
def test_what_responses_cannot_say_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(GatewayError) as refused:
        body(passage(OPENAI_RESPONSES, **fields))
    assert refused.value.param == field


def test_a_body_with_both_is_chat() -> None:
    request = posted(messages=[{"role": "user", "content": "Hi"}])
    assert request.written_in is None


def test_an_error_in_the_stream_is_chats() -> None:
    found = passage(OPENAI_RESPONSES)
    body(found)
    relay = found.relay(model_id="gpt-5-5")
    relay.feed(frames({"type": "error", "message": "Bang", "code": "server_error"}))
    assert (relay.state.failure, relay.state.is_complete) == ("Bang", False)
