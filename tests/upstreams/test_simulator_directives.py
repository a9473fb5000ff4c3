"""Failures and sizes on demand: `[[simulate …]]` in the last user message."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from apps.upstreams.simulator import Simulator, SimulatorTransport, directives
from apps.upstreams.simulator.directives import Directives
from apps.upstreams.transport.protocol import (
    UpstreamBroken,
    UpstreamCall,
    UpstreamReply,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from tests.upstreams.asking import (
    ANTHROPIC,
    CHAT,
    GEMINI,
    GEMINI_STREAM,
    IMAGES,
    MESSAGES,
    RESPONSES,
    Json,
    ask,
    chat,
    gemini,
    keep,
    listen,
    messages,
    quick,
    responses,
)


async def send(path: str, body: Json, *, first_byte_timeout_s: float = 5.0) -> UpstreamReply:
    call = UpstreamCall(f"simulator:{path}", ANTHROPIC, json.dumps(body).encode(), 5.0, first_byte_timeout_s)
    return await SimulatorTransport(quick()).send(call)


def test_directives_are_read_and_clamped() -> None:
    text = "[[simulate status=529 retry-after=2]] then [[simulate ttfb-ms=500 chunk-ms=20 chunks=200 no-usage]]"
    assert directives.read(text) == Directives(
        status=529, retry_after_s=2, ttfb_ms=500, chunk_ms=20, chunks=200, reports_usage=False
    )
    assert directives.read("[[simulate status=99 ttfb-ms=999999999 joke=1]]") == Directives(status=300, ttfb_ms=600_000)
    assert directives.read("simulate status=529") == directives.NONE
    assert directives.remove("Say [[simulate cut=3]]hello") == "Say hello"


async def test_only_the_last_user_message_gives_orders() -> None:
    body = chat("")
    body["messages"] = [
        {"role": "user", "content": "[[simulate status=500]]"},
        {"role": "assistant", "content": "[[simulate status=501]]"},
        {"role": "user", "content": "Fine?"},
    ]
    status, reply = await ask(quick(), CHAT, body)
    assert status == 200
    assert 'You wrote: "Fine?". That was turn 2.' in reply["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        (CHAT, chat("[[simulate status=429 retry-after=7]]"), ("requests", "rate_limit_exceeded")),
        (RESPONSES, responses("[[simulate status=429 retry-after=7]]"), ("requests", "rate_limit_exceeded")),
        (MESSAGES, messages("[[simulate status=429 retry-after=7]]"), ("rate_limit_error", None)),
        (GEMINI, gemini("[[simulate status=429 retry-after=7]]"), (None, 429)),
        (
            IMAGES,
            {"model": "gpt-image-2", "prompt": "[[simulate status=429 retry-after=7]]"},
            ("requests", "rate_limit_exceeded"),
        ),
    ],
)
async def test_a_status_comes_in_the_dialects_shape(path: str, body: Json, kind: tuple[Any, Any]) -> None:
    reply = await send(path, body)
    assert (reply.status, reply.headers["retry-after"]) == (429, "7")
    error = json.loads(await reply.read(10_000))["error"]
    assert (error.get("type"), error.get("code")) == kind


async def test_chunks_are_exact() -> None:
    events = await listen(quick(), MESSAGES, messages("[[simulate chunks=200]]"))
    assert sum(event["type"] == "content_block_delta" for event in events) == 200
    chunks = await listen(quick(), CHAT, chat("[[simulate chunks=7]]"))
    assert sum(bool(chunk["choices"][0]["delta"].get("content")) for chunk in chunks) == 7
    parts = await listen(quick(), GEMINI_STREAM, gemini("[[simulate chunks=5]]"))
    assert len(parts) == 6


async def test_output_tokens_are_exact_and_max_tokens_still_holds() -> None:
    _, body = await ask(quick(), CHAT, chat("[[simulate output-tokens=500]]"))
    assert body["usage"]["completion_tokens"] == 500
    _, body = await ask(quick(), CHAT, chat("[[simulate output-tokens=500]]", max_tokens=60))
    assert (body["usage"]["completion_tokens"], body["choices"][0]["finish_reason"]) == (60, "length")
    chunks = await listen(quick(), CHAT, chat("[[simulate output-tokens=500 chunks=9]]"))
    texts = [chunk["choices"][0]["delta"].get("content") for chunk in chunks]
    assert (len("".join(filter(None, texts))), len(list(filter(None, texts)))) == (2_000, 9)


async def test_a_cut_stream_and_a_cut_reply_are_broken() -> None:
    reply = await send(CHAT, chat("[[simulate cut=3]] a long story", stream=True))
    heard: list[bytes] = []
    with pytest.raises(UpstreamBroken):
        await keep(reply.chunks(), heard)
    assert sum(b'"content":"' in chunk for chunk in heard) == 4  # the opening chunk has an empty one
    with pytest.raises(UpstreamBroken):
        await (await send(CHAT, chat("[[simulate cut=0]]"))).read(10_000)


async def test_an_error_event_ends_the_stream() -> None:
    events = await listen(quick(), MESSAGES, messages("[[simulate error-after=2]] hello"))
    assert [event["type"] for event in events[3:]] == ["content_block_delta", "content_block_delta", "error"]
    assert events[-1]["error"]["type"] == "overloaded_error"
    events = await listen(quick(), RESPONSES, responses("[[simulate error-after=2]] hello"))
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert (events[-1]["response"]["status"], events[-1]["response"]["error"]["code"]) == ("failed", "server_error")
    chunks = await listen(quick(), CHAT, chat("[[simulate error-after=0]] hello"))
    assert [chunk.get("error", {}).get("type") for chunk in chunks] == [None, "server_error"]
    chunks = await listen(quick(), GEMINI_STREAM, gemini("[[simulate error-after=1]] hello"))
    assert (len(chunks), chunks[-1]["error"]["status"]) == (2, "INTERNAL")


async def test_a_plain_reply_that_fails() -> None:
    status, body = await ask(quick(), CHAT, chat("[[simulate error-after=1]]"))
    assert (status, body["error"]["type"]) == (500, "server_error")
    status, body = await ask(quick(), RESPONSES, responses("[[simulate error-after=1]]"))
    assert (status, body["status"], body["usage"]) == (200, "failed", None)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (CHAT, chat("[[simulate no-usage]]"), "usage"),
        (MESSAGES, messages("[[simulate no-usage]]"), "usage"),
        (RESPONSES, responses("[[simulate no-usage]]"), "usage"),
        (GEMINI, gemini("[[simulate no-usage]]"), "usageMetadata"),
    ],
)
async def test_usage_can_be_withheld(path: str, body: Json, field: str) -> None:
    assert (await ask(quick(), path, body))[1].get(field) is None
    stream_path = GEMINI_STREAM if path == GEMINI else path
    for event in await listen(quick(), stream_path, {**body, "stream_options": {"include_usage": True}}):
        assert event.get(field) is None
        assert (event.get("response") or event.get("message") or {}).get(field) is None


async def test_pace_is_kept() -> None:
    started_at = asyncio.get_running_loop().time()
    await ask(quick(), CHAT, chat("[[simulate ttfb-ms=60]]"))
    assert asyncio.get_running_loop().time() - started_at >= 0.06
    started_at = asyncio.get_running_loop().time()
    await listen(Simulator(ttfb_ms=0, chunk_ms=500), CHAT, chat("[[simulate chunk-ms=10 chunks=6]]"))
    assert 0.05 <= asyncio.get_running_loop().time() - started_at < 0.5


async def test_the_first_byte_deadline_is_kept() -> None:
    with pytest.raises(UpstreamTimeout):
        await send(CHAT, chat("[[simulate ttfb-ms=5000]]"), first_byte_timeout_s=0.02)


async def test_limits_and_closing() -> None:
    with pytest.raises(UpstreamTooLarge):
        await (await send(CHAT, chat("Hello"))).read(100)
    reply = await send(CHAT, chat("[[simulate chunks=50]]", stream=True))
    chunks = reply.chunks()
    assert (await anext(chunks)).startswith(b"data: ")
    reply.close()
    reply.close()
    with pytest.raises(UpstreamBroken):
        await anext(chunks)
    with pytest.raises(UpstreamUnreachable):
        await SimulatorTransport().send(UpstreamCall("http://127.0.0.1/v1", {}, b"", 1, 1))
