"""What a strict provider refuses, and in which shape."""

from __future__ import annotations

import base64

import pytest

from apps.upstreams.simulator import seal
from tests.upstreams.asking import (
    ANTHROPIC,
    CHAT,
    GEMINI,
    IMAGES,
    MESSAGES,
    RESPONSES,
    Json,
    ask,
    chat,
    gemini,
    messages,
    quick,
    responses,
)

TOOL = {"type": "function", "function": {"name": "t"}}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "Hi"}]}, "model"),
        (CHAT, {"model": "m"}, "messages"),
        (CHAT, {"model": "m", "messages": []}, "messages"),
        (CHAT, {"model": "m", "messages": ["Hi"]}, "messages"),
        (CHAT, {"model": "m", "messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role"),
        (CHAT, {"model": "m", "messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        (CHAT, chat("Hi", max_tokens=0), "max_tokens"),
        (CHAT, chat("Hi", n="two"), "n"),
        (CHAT, chat("Hi", temperature=3), "temperature"),
        (CHAT, chat("Hi", stream="yes"), "stream"),
        (CHAT, chat("Hi", tool_choice="required"), "tool_choice"),
        (CHAT, chat("Hi", tools=[TOOL], tool_choice="maybe"), "tool_choice"),
        (RESPONSES, {"input": "Hi"}, "model"),
        (RESPONSES, {"model": "m"}, "input"),
        (RESPONSES, responses("Hi", max_output_tokens=True), "max_output_tokens"),
        (RESPONSES, {"model": "m", "input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        (IMAGES, {"model": "gpt-image-2"}, "prompt"),
        (IMAGES, {"model": "gpt-image-2", "prompt": "x", "quality": "standard"}, "quality"),
        (IMAGES, {"model": "gpt-image-2", "prompt": "x", "response_format": "url"}, "response_format"),
        (IMAGES, {"model": "gpt-image-2", "prompt": "x", "size": "9999x9999"}, "size"),
        (IMAGES, {"model": "gpt-image-2", "prompt": "x", "stream": True, "n": 2}, "n"),
    ],
)
async def test_openai_dialects_name_the_field(path: str, body: Json, param: str) -> None:
    status, reply = await ask(quick(), path, body)
    assert (status, reply["error"]["type"], reply["error"]["param"]) == (400, "invalid_request_error", param)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}, "model: Field required"),
        ({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}, "max_tokens: Field required"),
        (messages("Hi") | {"messages": []}, "messages"),
        (messages("Hi", temperature=1.5), "temperature"),
        (messages(""), "non-empty content"),
        (messages("Hi", tool_choice={"type": "any"}), "only be specified while providing tools"),
        (messages("Hi", thinking={"type": "enabled", "budget_tokens": 1_024}), "must be greater than"),
        (messages("Hi") | {"messages": [{"role": "tool", "content": "x"}]}, 'should be "user" or "assistant"'),
        (messages("Hi", system=[{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}] * 5), "Found 5"),
        (
            messages(
                "Hi",
                system=[{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
                cache_control={"type": "ephemeral", "ttl": "1h"},
            ),
            "must not come after",
        ),
    ],
)
async def test_messages_says_what_is_wrong(body: Json, words: str) -> None:
    status, reply = await ask(quick(), MESSAGES, body)
    assert (status, reply["type"], reply["error"]["type"]) == (400, "error", "invalid_request_error")
    assert words in reply["error"]["message"]


async def test_tool_results_must_follow_their_calls() -> None:
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "t", "input": {}}]}
    body = messages("Hi")
    unanswered = {**body, "messages": [*body["messages"], call, {"role": "user", "content": "And?"}]}
    assert "without `tool_result` blocks" in (await ask(quick(), MESSAGES, unanswered))[1]["error"]["message"]
    stray = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_2", "content": "x"}]}
    assert "unexpected" in (await ask(quick(), MESSAGES, {**body, "messages": [stray]}))[1]["error"]["message"]


async def test_messages_needs_its_version_header() -> None:
    status, reply = await ask(quick(), MESSAGES, messages("Hi"), {})
    assert (status, reply["error"]["message"]) == (400, "anthropic-version: header is required")


async def test_a_changed_signature_is_refused_and_a_foreign_one_is_not() -> None:
    async def status_with(thought: str, signature: str) -> int:
        block = {"type": "thinking", "thinking": thought, "signature": signature}
        body = messages("Hi")
        history = [*body["messages"], {"role": "assistant", "content": [block]}, {"role": "user", "content": "Go on"}]
        return (await ask(quick(), MESSAGES, {**body, "messages": history}))[0]

    own = seal.seal("a thought")
    altered = base64.b64encode(base64.b64decode(own)[:-1] + b"?").decode()
    assert await status_with("a thought", own) == 200
    assert await status_with("", own) == 200
    assert await status_with("another thought", own) == 400
    assert await status_with("a thought", altered) == 400
    assert await status_with("a thought", own[:-3]) == 400
    assert await status_with("a thought", "EqQBCkgIBBAB") == 200
    body = responses("") | {"input": [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": altered}]}
    assert (await ask(quick(), RESPONSES, body))[1]["error"]["code"] == "invalid_encrypted_content"


async def test_gemini_refuses_in_its_own_shape() -> None:
    status, reply = await ask(quick(), GEMINI, {"contents": [{"role": "robot", "parts": [{"text": "Hi"}]}]})
    assert (status, reply["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert (await ask(quick(), GEMINI, {}))[0] == 400
    status, reply = await ask(
        quick(), GEMINI, gemini("Hi", responseModalities=["IMAGE"], imageConfig={"aspectRatio": "1:0"})
    )
    assert status == 400


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a":' * 2_000, b"\xff"])
async def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    assert (await quick().handle("POST", CHAT, {}, body)).status == 400
    assert (await quick().handle("POST", MESSAGES, ANTHROPIC, body)).status == 400


async def test_unknown_paths_and_methods() -> None:
    assert (await quick().handle("POST", "/v1/audio", {}, b"{}")).status == 404
    assert (await quick().handle("GET", CHAT, {}, b"")).status == 405
    listed = await quick().handle("GET", "/v1/models?limit=1000", ANTHROPIC, b"")
    assert (listed.status, listed.headers["x-simulator"]) == (200, "hypereal")
