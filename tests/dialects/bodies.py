"""Small valid requests and streams of each dialect, written by hand."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import settings

from apps.dialects.protocol import Dialect, Request, StreamRelay
from apps.dialects.registry import BY_ENDPOINT
from apps.dialects.said import Said

relaxed = settings(deadline=None, database=None)
"""For property tests on a busy machine; what they find is kept as an ordinary test, not in a database of examples."""

MINIMAL: dict[str, dict[str, Any]] = {
    "chat": {"model": "gpt-5-5", "messages": [{"role": "user", "content": "Hi"}]},
    "responses": {"model": "gpt-5-5", "input": "Hi"},
    "images": {"model": "gpt-image-2", "prompt": "A cat"},
    "messages": {"model": "claude-sonnet-4-7", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]},
}
ENDPOINTS = tuple(MINIMAL)


def size_of(said: Said) -> int:
    """Bytes of text, and of what came encrypted."""
    return sum(len(text.encode()) for text in said.texts()) + said.sealed_bytes


def body(endpoint: str, **fields: Any) -> bytes:
    """A minimal request with these fields added or replaced."""
    return json.dumps({**MINIMAL[endpoint], **fields}).encode()


def parse(endpoint: str, **fields: Any) -> Request:
    return BY_ENDPOINT[endpoint].parse(body(endpoint, **fields))


def sent(endpoint: str, **fields: Any) -> dict[str, Any]:
    """What an upstream gets for such a request."""
    dialect: Dialect = BY_ENDPOINT[endpoint]
    request = dialect.parse(body(endpoint, **fields))
    raw = dialect.upstream_body(request, upstream_model="theirs", max_tokens=None, account_tag="acc")
    decoded: dict[str, Any] = json.loads(raw)
    return decoded


def frames(*events: dict[str, Any] | str | tuple[str, dict[str, Any]]) -> bytes:
    """Server-sent events; a tuple gives one its name."""
    out = []
    for event in events:
        name, data = event if isinstance(event, tuple) else ("", event)
        text = data if isinstance(data, str) else json.dumps(data)
        out.append((f"event: {name}\n" if name else "") + f"data: {text}\n\n")
    return "".join(out).encode()


def typed(*events: dict[str, Any]) -> bytes:
    """Events named after their `type`, as Anthropic and Responses send them."""
    return frames(*((str(event["type"]), event) for event in events))


def events_of(stream: bytes) -> list[Any]:
    """The JSON of every event (`[DONE]` as a string); comments are left out."""
    found: list[Any] = []
    for block in stream.decode().split("\n\n"):
        for line in block.split("\n"):
            if line.startswith("data: "):
                text = line.removeprefix("data: ")
                found.append(text if text == "[DONE]" else json.loads(text))
    return found


def run(relay: StreamRelay, pieces: Iterable[bytes]) -> bytes:
    """Feed it all and end it, as the gateway does."""
    out = b""
    for piece in pieces:
        out += relay.feed(piece)
        if relay.state.is_complete or relay.state.failure is not None:
            return out
    return out + relay.end()


def assert_same_however_cut(make: Callable[[], StreamRelay], stream: bytes, cuts: list[int]) -> None:
    """The caller gets the same bytes, and the gateway the same state, wherever the upstream's bytes were cut."""
    whole, cut = make(), make()
    edges = [0, *sorted(at % (len(stream) + 1) for at in cuts), len(stream)]
    pieces = [stream[start:stop] for start, stop in itertools.pairwise(edges)]
    assert run(cut, pieces) == run(whole, [stream])
    assert cut.state == whole.state
    if whole.state.is_complete:
        assert cut.finish(b'{"billing":{}}') == whole.finish(b'{"billing":{}}')
