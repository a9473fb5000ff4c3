"""Asking the simulator in process, and reading what it says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable
from typing import Any, TypeVar

from apps.upstreams.simulator import Simulator

Json = dict[str, Any]
T = TypeVar("T")

ANTHROPIC = {"anthropic-version": "2023-06-01"}


def quick() -> Simulator:
    """A simulator that never waits."""
    return Simulator(ttfb_ms=0, chunk_ms=0)


async def ask(simulator: Simulator, path: str, body: Json, headers: dict[str, str] | None = None) -> tuple[int, Json]:
    """Status and JSON body of a plain reply."""
    reply = await simulator.handle("POST", path, ANTHROPIC if headers is None else headers, json.dumps(body).encode())
    assert isinstance(reply.body, bytes)
    return reply.status, json.loads(reply.body)


async def listen(simulator: Simulator, path: str, body: Json) -> list[Json]:
    """The JSON payloads of a streamed reply; `[DONE]` is left out."""
    reply = await simulator.handle("POST", path, ANTHROPIC, json.dumps({**body, "stream": True}).encode())
    assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert not isinstance(reply.body, bytes)
    text = b"".join([chunk async for chunk in reply.body]).decode()
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


async def keep(chunks: AsyncIterable[T], heard: list[T]) -> None:
    """Take all there is; what came before an error stays in `heard`."""
    async for chunk in chunks:
        heard.append(chunk)  # noqa: PERF401  (a comprehension would lose it)


def chat(text: str, **more: Any) -> Json:
    return {"model": "gpt-5-5", "messages": [{"role": "user", "content": text}], **more}


def messages(text: str, **more: Any) -> Json:
    return {"model": "claude-sonnet-4-7", "max_tokens": 1_000, "messages": [{"role": "user", "content": text}], **more}


def responses(text: str, **more: Any) -> Json:
    return {"model": "gpt-5-5", "input": text, **more}


def gemini(text: str, **config: Any) -> Json:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": config}


CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
IMAGES = "/v1/images/generations"
GEMINI = "/v1beta/models/nano-banana-2:generateContent"
GEMINI_STREAM = "/v1beta/models/nano-banana-2:streamGenerateContent?alt=sse"
