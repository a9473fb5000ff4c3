"""An image of eight megabytes passes through in a few copies, each made once, and is never decoded."""

from __future__ import annotations

import base64
import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from apps.dialects.hub.exchange import Exchange
from apps.dialects.protocol import StreamRelay
from apps.dialects.registry import BY_ENDPOINT, CALLERS, UPSTREAMS
from tests.dialects.bodies import parse

DATA: Final = base64.b64encode(bytes(range(256)) * (24 * 1024)).decode()
URL: Final = f"data:image/png;base64,{DATA}"
READ_BYTES: Final = 65_536
ASKED: Final[dict[str, Any]] = {"modalities": ["image", "text"], "stream": True}


@pytest.fixture(autouse=True)
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def copies(work: Callable[[], bytes]) -> float:
    """The most memory that the work held at once, in images; what comes out holds exactly one."""
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    out = work()
    peak = tracemalloc.get_traced_memory()[1] - before
    assert out.count(DATA.encode()) == 1
    return peak / len(DATA)


def gemini(**more: Any) -> bytes:
    part = {"inlineData": {"mimeType": "image/png", "data": DATA}}
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1}
    candidate = {"content": {"parts": [part]}, "index": 0, **more}
    return json.dumps({"candidates": [candidate], "responseId": "r", "usageMetadata": usage}).encode()


def exchange(**fields: Any) -> Exchange:
    return Exchange(CALLERS["openai-chat"], UPSTREAMS["gemini"], parse("chat", **fields))


def fed(relay: StreamRelay, first: bytes, event: bytes) -> Callable[[], bytes]:
    """The stream read as from a socket; its last piece brings the image out."""
    relay.feed(b"data: " + first + b"\r\n\r\n")
    stream = b"data: " + event + b"\r\n\r\n"
    pieces = [stream[start : start + READ_BYTES] for start in range(0, len(stream), READ_BYTES)]

    def work() -> bytes:
        out = b""
        for piece in pieces:
            out = relay.feed(piece) or out
        return out

    return work


def test_a_translated_stream_keeps_an_image_as_it_came() -> None:
    first = json.dumps({"candidates": [{"content": {"parts": [{"text": "Here"}]}}]}).encode()
    assert copies(fed(exchange(**ASKED).relay(model_id="m"), first, gemini())) < 2.5


def test_a_stream_that_passes_through_keeps_an_image_as_it_came() -> None:
    image = {"type": "image_url", "image_url": {"url": URL}}
    relay = BY_ENDPOINT["chat"].relay(parse("chat", **ASKED), model_id="m")
    first = b'{"id":"x","choices":[{"index":0,"delta":{"content":"Here"}}]}'
    event = json.dumps({"id": "x", "choices": [{"index": 0, "delta": {"images": [image]}}]}).encode()
    assert copies(fed(relay, first, event)) < 4
    assert relay.state.images == 1


def test_a_translated_reply_keeps_an_image_as_it_came() -> None:
    call, body = exchange(modalities=["image", "text"]), gemini(finishReason="STOP")

    def work() -> bytes:
        assert call.read_reply(body).images == 1
        return call.render_reply(body, model_id="m", hypereal=b"{}")

    assert copies(work) < 3


def test_a_reply_that_passes_through_is_metered_without_its_images() -> None:
    message = {"role": "assistant", "content": "", "images": [{"type": "image_url", "image_url": {"url": URL}}]}
    body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    assert BY_ENDPOINT["chat"].read_reply(body).images == 1
    assert tracemalloc.get_traced_memory()[1] - before < len(DATA) // 10
