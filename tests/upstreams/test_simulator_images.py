"""Images are real PNG files, in the shape of each dialect."""

from __future__ import annotations

import base64
import struct
import zlib

import pytest

from apps.upstreams.simulator import png
from tests.upstreams.asking import CHAT, GEMINI, Json, ask, chat, gemini, listen, quick


def size_of(image: bytes) -> tuple[int, int]:
    """Read a PNG as a viewer does: every checksum, and as many pixels as its header promises."""
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    place, chunks = 8, {}
    while place < len(image):
        length, kind = struct.unpack(">I4s", image[place : place + 8])
        data = image[place + 8 : place + 8 + length]
        assert struct.unpack(">I", image[place + 8 + length : place + 12 + length]) == (zlib.crc32(kind + data),)
        chunks[kind] = data
        place += 12 + length
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour, len(chunks[b"PLTE"])) == (4, 3, 48)
    assert len(zlib.decompress(chunks[b"IDAT"])) == height * (1 + (width + 1) // 2)
    return width, height


@pytest.mark.parametrize(("width", "height"), [(1_024, 1_024), (64, 64), (33, 47)])
def test_a_drawing_is_a_png(width: int, height: int) -> None:
    assert size_of(png.draw("a fox", width, height)) == (width, height)


def test_the_prompt_chooses_the_colours() -> None:
    assert png.draw("a fox", 64, 64) == png.draw("a fox", 64, 64) != png.draw("an owl", 64, 64)


def url_image(part: Json) -> bytes:
    head, _, data = part["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    return base64.b64decode(data)


async def test_chat_draws() -> None:
    body = chat("Draw a fox", modalities=["image", "text"], image_config={"aspect_ratio": "16:9", "image_size": "1K"})
    _, reply = await ask(quick(), CHAT, body)
    message = reply["choices"][0]["message"]
    assert message["content"] == 'This is the Hypereal simulator, standing in for gpt-5-5. I drew "Draw a fox".'
    [image] = message["images"]
    assert size_of(url_image(image)) == (1_376, 768)
    assert reply["usage"]["completion_tokens_details"]["image_tokens"] == 1_120
    assert reply["usage"]["completion_tokens"] == 1_120 + 20
    chunks = await listen(quick(), CHAT, body)
    [delta] = [chunk["choices"][0]["delta"] for chunk in chunks if "images" in chunk["choices"][0]["delta"]]
    assert delta["images"] == [image]


async def test_gemini_draws() -> None:
    config = {"responseModalities": ["TEXT", "IMAGE"], "imageConfig": {"aspectRatio": "1:1", "imageSize": "2K"}}
    _, reply = await ask(quick(), GEMINI, gemini("Draw an owl", **config))
    text, image = reply["candidates"][0]["content"]["parts"]
    assert text["text"].endswith('I drew "Draw an owl".')
    assert image["inlineData"]["mimeType"] == "image/png"
    assert size_of(base64.b64decode(image["inlineData"]["data"])) == (2_048, 2_048)
    usage = reply["usageMetadata"]
    assert usage["candidatesTokensDetails"] == [{"modality": "IMAGE", "tokenCount": 1_120}]
    assert usage["candidatesTokenCount"] == 1_120 + 21


async def test_images_in_the_prompt_count() -> None:
    url = "data:image/png;base64," + base64.b64encode(png.draw("x", 64, 64)).decode()
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    _, reply = await ask(quick(), CHAT, chat("") | {"messages": [{"role": "user", "content": parts}]})
    assert reply["usage"]["prompt_tokens"] == 258 + 5
