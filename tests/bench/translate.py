"""Chunks that one core translates in a second, for each pair of dialects, beside the official SDKs' own models."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import anthropic._models
import anthropic._streaming
import openai._models
import openai._streaming
from anthropic.types import RawMessageStreamEvent
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent

from apps.dialects.hub.exchange import TranslatingRelay
from apps.dialects.protocol import ANTHROPIC_MESSAGES, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES
from apps.dialects.registry import CALLERS, DIALECTS, UPSTREAMS

CHUNKS: Final = 2_000
ROUNDS: Final = 25
"""The best one counts: the others met something else on the core."""
WORD: Final = " capital"

ASKED: Final[dict[str, dict[str, Any]]] = {
    OPENAI_CHAT: {"messages": [{"role": "user", "content": "Hi"}]},
    OPENAI_RESPONSES: {"input": "Hi"},
    ANTHROPIC_MESSAGES: {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 500},
}


def frame(event: dict[str, Any], *, is_named: bool = True) -> bytes:
    name = f"event: {event['type']}\n" if is_named else ""
    return f"{name}data: {json.dumps(event, separators=(',', ':'))}\n\n".encode()


Read = Callable[[bytes], list[Any]]
"""A chunk's bytes -> the models that an SDK's stream yields for it: split, parsed, constructed as its own code does."""
Make = Callable[[Any], Any]
"""An event's JSON -> its model, as the SDK makes it."""


@dataclass(frozen=True, slots=True)
class Stream:
    """How a provider begins to answer, one chunk of text of it, and how its official SDK reads and makes such."""

    opening: bytes
    chunk: bytes
    read: Read | None
    make: Make | None = None


def _openai(kind: object) -> tuple[Read, Make]:
    def make(event: Any) -> Any:
        return openai._models.construct_type(type_=kind, value=event)

    def read(chunk: bytes) -> list[Any]:
        return [make(event.json()) for event in openai._streaming.SSEDecoder().iter_bytes(iter([chunk]))]

    return read, make


def _anthropic(kind: object) -> tuple[Read, Make]:
    def make(event: Any) -> Any:
        return anthropic._models.construct_type(type_=kind, value=event)

    def read(chunk: bytes) -> list[Any]:
        return [make(event.json()) for event in anthropic._streaming.SSEDecoder().iter_bytes(iter([chunk]))]

    return read, make


def _google() -> Read | None:
    """Google's SDK where it is installed: it is no dependency of ours."""
    try:
        from google.genai import types  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        return None
    model = types.GenerateContentResponse
    return lambda chunk: [model._from_response(response=json.loads(chunk[6:]), kwargs={})]


def _chat() -> Stream:
    shell = {"id": "chatcmpl-9x8", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "gpt-5.5"}
    begun, said = (
        {**shell, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}], "usage": None}
        for delta in ({"role": "assistant", "content": ""}, {"content": WORD})
    )
    return Stream(frame(begun, is_named=False), frame(said, is_named=False), *_openai(ChatCompletionChunk))


def _responses() -> Stream:
    where = {"item_id": "msg_0fabc13af1ee0049006a691dfebdc881a1", "output_index": 0, "content_index": 0}
    item = {"id": where["item_id"], "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    response = {"id": "resp_0fabc13af1ee0049006a", "created_at": 1_700_000_000, "status": "in_progress", "output": []}
    opening: list[dict[str, Any]] = [
        {"type": "response.created", "sequence_number": 0, "response": response},
        {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": item},
    ]
    kind = "response.output_text.delta"
    said = {"type": kind, **where, "delta": WORD, "logprobs": [], "obfuscation": "3Vbd90o7", "sequence_number": 5}
    return Stream(b"".join(map(frame, opening)), frame(said), *_openai(ResponseStreamEvent))


def _messages() -> Stream:
    message = {"id": "msg_01", "type": "message", "role": "assistant", "content": [], "model": "claude"}
    opening: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "usage": {"input_tokens": 9, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ]
    said = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": WORD}}
    return Stream(b"".join(map(frame, opening)), frame(said), *_anthropic(RawMessageStreamEvent))


def _gemini() -> Stream:
    counts = {"promptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 14}
    candidate = {"content": {"parts": [{"text": WORD}], "role": "model"}, "index": 0}
    said = frame({"candidates": [candidate], "usageMetadata": counts, "responseId": "g1"}, is_named=False)
    return Stream(said, said, _google())


STREAMS: Final = {
    OPENAI_CHAT: _chat(),
    OPENAI_RESPONSES: _responses(),
    ANTHROPIC_MESSAGES: _messages(),
    GEMINI: _gemini(),
}


Step = Callable[[], object]


def best_us(*makes: Callable[[], Step]) -> list[float]:
    """Microseconds for each step, in the best of a few rounds; they take turns, so that all meet the same machine. A
    round is one stream: what a relay keeps for the bill is kept as in a call."""
    best = [float("inf")] * len(makes)
    for _ in range(ROUNDS):
        for index, make in enumerate(makes):
            step = make()
            began = time.perf_counter()
            for _ in range(CHUNKS):
                step()
            best[index] = min(best[index], (time.perf_counter() - began) / CHUNKS * 1e6)
    return best


def translated(caller: str, upstream: str) -> Step:
    """One chunk on its way through a relay that is in the middle of its stream."""
    body = json.dumps({"model": "m", "stream": True, **ASKED[caller]}).encode()
    request = DIALECTS[caller].parse(body)
    asked = CALLERS[caller].read_conversation(request)
    relay = TranslatingRelay(
        UPSTREAMS[upstream].stream_reader(asked), CALLERS[caller].stream_writer(request, asked, model_id="m"), asked
    )
    relay.feed(STREAMS[upstream].opening)
    chunk = STREAMS[upstream].chunk
    assert WORD.encode() in relay.feed(chunk)
    return lambda: relay.feed(chunk)


def modelled(caller: str, upstream: str) -> Step:
    """The same done with the official SDKs' models: the chunk read as its SDK's stream reads it, one of the caller's
    made and dumped. What to put into it, the translation itself, is not even counted. Where Gemini's SDK is not
    installed, the caller's stands in."""
    shown = STREAMS[caller]
    read = STREAMS[upstream].read or shown.read
    assert read is not None
    assert shown.make is not None
    chunk, make, said = STREAMS[upstream].chunk, shown.make, json.loads(shown.chunk.partition(b"data: ")[2])
    if STREAMS[upstream].read is None:
        chunk = shown.chunk
    return lambda: (read(chunk), make(said).to_json())


def main() -> int:
    print(f"{'caller <- upstream':42}{'chunks/s':>10}{'us/chunk':>10}{'SDK models':>12}{'ratio':>8}")
    for caller in CALLERS:
        for upstream in UPSTREAMS:
            if caller == upstream:
                continue
            ours, theirs = best_us(partial(translated, caller, upstream), partial(modelled, caller, upstream))
            pair = f"{caller} <- {upstream}"
            print(f"{pair:42}{1e6 / ours:>10,.0f}{ours:>10.2f}{theirs:>12.2f}{theirs / ours:>7.0f}x")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
