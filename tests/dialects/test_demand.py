"""What a body's text does not show: images and pages are counted, their payloads are no text."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from apps.dialects.protocol import InvalidRequest, UnknownState, UnsupportedField
from apps.dialects.registry import BY_ENDPOINT
from tests.dialects.bodies import body, parse

PIXELS = "A" * 4_000
DATA_URL = f"data:image/png;base64,{PIXELS}"
PDF = base64.b64encode(b"%PDF-1.7" + b"x" * 4_992).decode()


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, *parts]}]


def base64_image(data: str = PIXELS) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def document(**source: Any) -> dict[str, Any]:
    return {"type": "document", "source": source}


PDF_BLOCK = document(type="base64", media_type="application/pdf", data=PDF)


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        ("chat", {"messages": user({"type": "image_url", "image_url": {"url": DATA_URL, "detail": "low"}})}),
        ("chat", {"messages": user({"type": "image_url", "image_url": DATA_URL})}),
        ("chat", {"messages": [{"role": "assistant", "content": "", "images": [
            {"type": "image_url", "image_url": {"url": DATA_URL}}]}]}),
        ("responses", {"input": user({"type": "input_image", "image_url": DATA_URL})}),
        ("responses", {"input": [{"type": "function_call_output", "call_id": "c", "output": [
            {"type": "input_image", "image_url": DATA_URL}]}]}),
        ("responses", {"input": [{"type": "computer_call_output", "call_id": "c", "output":
            {"type": "computer_screenshot", "image_url": DATA_URL}}]}),
        ("responses", {"input": [{"type": "image_generation_call", "id": "ig_1", "result": PIXELS}]}),
        ("messages", {"messages": user(base64_image())}),
        ("messages", {"system": [base64_image()]}),
        ("messages", {"messages": user({"type": "tool_result", "tool_use_id": "t", "content": [base64_image()]})}),
        ("messages", {"messages": user(document(type="content", content=[base64_image()]))}),
        ("messages", {"messages": user({"type": "image", "source": {"type": "url", "url": DATA_URL}})}),
    ],
)  # fmt: skip
def test_an_image_counts_once_and_its_payload_is_no_text(endpoint: str, fields: dict[str, Any]) -> None:
    raw = body(endpoint, **fields)
    demand = BY_ENDPOINT[endpoint].parse(raw).demand
    assert (demand.images, demand.document_pages, demand.text_bytes) == (1, 0, len(raw) - 4_000)


@pytest.mark.parametrize(
    "url", ["https://example.org/cat.png", "http://example.org/cat.png", "HTTPS://example.org/a,b"]
)
def test_an_image_by_address_counts_once(url: str) -> None:
    for endpoint, fields in (
        ("chat", {"messages": user({"type": "image_url", "image_url": {"url": url}})}),
        ("responses", {"input": user({"type": "input_image", "image_url": url})}),
        ("messages", {"messages": user({"type": "image", "source": {"type": "url", "url": url}})}),
    ):
        raw = body(endpoint, **fields)
        demand = BY_ENDPOINT[endpoint].parse(raw).demand
        assert (demand.images, demand.text_bytes) == (1, len(raw))


def test_every_image_of_a_conversation_counts() -> None:
    request = parse("messages", messages=user(base64_image(), base64_image()) + user(base64_image()))
    assert request.demand.images == 3


def test_the_payload_is_measured_as_it_stands_in_the_body() -> None:
    escaped = "\\/" * 1_000
    raw = body("messages", messages=user(base64_image("@@"))).replace(b"@@", escaped.encode())
    demand = BY_ENDPOINT["messages"].parse(raw).demand
    assert demand.text_bytes == len(raw) - 2_000


def test_an_escaped_type_is_still_an_image() -> None:
    raw = body("messages", messages=user(base64_image())).replace(b'"image"', b'"\\u0069mage"')
    assert BY_ENDPOINT["messages"].parse(raw).demand.images == 1


def test_text_about_images_is_text() -> None:
    listing = '{"type": "image", "source": {"type": "base64", "data": "' + PIXELS + '"}}'
    tool_use = {"type": "tool_use", "id": "t", "name": "draw", "input": base64_image()}
    for messages in (user({"type": "text", "text": listing}), [{"role": "assistant", "content": [tool_use]}]):
        raw = body("messages", messages=messages)
        demand = BY_ENDPOINT["messages"].parse(raw).demand
        assert (demand.images, demand.text_bytes) == (0, len(raw))


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        ("chat", {"messages": user({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}})}),
        ("responses", {"input": user({"type": "input_file", "file_data": f"data:application/pdf;base64,{PDF}"})}),
        ("messages", {"messages": user(PDF_BLOCK)}),
    ],
)
def test_a_pdf_counts_by_its_pages(endpoint: str, fields: dict[str, Any]) -> None:
    raw = body(endpoint, **fields)
    demand = BY_ENDPOINT[endpoint].parse(raw).demand
    # 5,000 bytes of PDF can hold at most three pages.
    assert (demand.document_pages, demand.images, demand.text_bytes) == (3, 0, len(raw) - len(PDF))


@pytest.mark.parametrize(("decoded_bytes", "pages"), [(3, 1), (1_998, 1), (2_001, 2), (60_000, 31), (600_000, 100)])
def test_a_files_size_bounds_its_pages(decoded_bytes: int, pages: int) -> None:
    data = "A" * (decoded_bytes // 3 * 4)
    request = parse("messages", messages=user(document(type="base64", media_type="application/pdf", data=data)))
    assert request.demand.document_pages == pages


@pytest.mark.parametrize(
    ("endpoint", "part"),
    [
        ("messages", document(type="text", media_type="text/plain", data="Plain text.")),
        ("messages", document(type="base64", media_type="text/plain", data="UGxhaW4=")),
        ("messages", document(type="content", content="Plain text.")),
        ("messages", {"type": "search_result", "content": [{"type": "text", "text": "found"}]}),
        ("chat", {"type": "file", "file": {"file_data": "data:text/plain;base64,UGxhaW4="}}),
    ],
)
def test_a_text_document_counts_as_text(endpoint: str, part: dict[str, Any]) -> None:
    raw = body(endpoint, messages=user(part))
    demand = BY_ENDPOINT[endpoint].parse(raw).demand
    assert (demand.document_pages, demand.images, demand.text_bytes) == (0, 0, len(raw))


CHAT = "messages[0].content[1]"
INPUT = "input[0].content[1]"
UNPRICED = [
    ("chat", {"type": "file", "file": {"file_data": "https://x.org/a.pdf"}}, f"{CHAT}.file.file_data"),
    ("chat", {"type": "file", "file": {"file_data": "data:application/zip;base64,AA"}}, f"{CHAT}.file.file_data"),
    ("chat", {"type": "video_url", "video_url": {"url": "https://x.org/a.mp4"}}, f"{CHAT}.type"),
    ("chat", {"type": "image_url", "image_url": {"url": "gs://bucket/a.png"}}, f"{CHAT}.image_url.url"),
    ("chat", {"type": "image_url", "image_url": {"url": "file-abc"}}, f"{CHAT}.image_url.url"),
    ("responses", {"type": "input_file", "file_url": "https://x.org/a.pdf"}, "input[0].content[1].file_url"),
    ("messages", document(type="url", url="https://x.org/a.pdf"), f"{CHAT}.source.type"),
    ("messages", document(type="base64", media_type="application/zip", data="AA"), f"{CHAT}.source.media_type"),
    ("messages", {"type": "video", "source": {}}, f"{CHAT}.type"),
]


@pytest.mark.parametrize(("endpoint", "part", "field"), UNPRICED)
def test_input_that_cannot_be_priced_is_refused_by_name(endpoint: str, part: dict[str, Any], field: str) -> None:
    conversation = user(part)
    with pytest.raises(UnsupportedField) as refused:
        parse(endpoint, **{"input" if endpoint == "responses" else "messages": conversation})
    assert refused.value.param == field


SOUND = {"type": "input_audio", "input_audio": {"data": "UklGRg" * 200, "format": "wav"}}


@pytest.mark.parametrize(("endpoint", "name", "field"), [("chat", "messages", CHAT), ("responses", "input", INPUT)])
def test_sound_counts_by_the_part_and_its_payload_is_no_text(endpoint: str, name: str, field: str) -> None:
    raw = body(endpoint, **{name: user(SOUND, SOUND)})
    demand = BY_ENDPOINT[endpoint].parse(raw).demand
    assert (demand.audio_parts, demand.audio_field) == (2, f"{field}.type")
    assert demand.text_bytes == len(raw) - 2 * 1_200
    for sound in ({"type": "input_audio"}, {"type": "input_audio", "input_audio": {"data": 7}}):
        with pytest.raises(InvalidRequest):
            parse(endpoint, **{name: user(sound)})


FILES = [
    ("chat", {"type": "file", "file": {"file_id": "file-1"}}, f"{CHAT}.file.file_id"),
    ("chat", {"type": "file", "file": {"file_id": "file-1", "file_data": "data:,"}}, f"{CHAT}.file.file_id"),
    ("responses", {"type": "input_file", "file_id": "file-1"}, "input[0].content[1].file_id"),
    ("responses", {"type": "input_image", "file_id": "file-1"}, "input[0].content[1].file_id"),
    ("messages", document(type="file", file_id="file-1"), f"{CHAT}.source.file_id"),
    ("messages", {"type": "image", "source": {"type": "file", "file_id": "file-1"}}, f"{CHAT}.source.file_id"),
    ("messages", {"type": "container_upload", "file_id": "file-1"}, f"{CHAT}.file_id"),
]


@pytest.mark.parametrize(("endpoint", "part", "field"), FILES)
def test_a_file_that_the_provider_keeps_is_not_found(endpoint: str, part: dict[str, Any], field: str) -> None:
    with pytest.raises(UnknownState) as refused:
        parse(endpoint, **{"input" if endpoint == "responses" else "messages": user(part)})
    assert (refused.value.status, refused.value.param) == (404, field)


def test_audio_that_the_provider_keeps_is_not_found() -> None:
    with pytest.raises(UnknownState) as refused:
        parse("chat", messages=[{"role": "assistant", "audio": {"id": "audio_1"}}])
    assert refused.value.param == "messages[0].audio"


@pytest.mark.parametrize(
    ("endpoint", "part"),
    [
        ("chat", {"type": "image_url"}),
        ("chat", {"type": "image_url", "image_url": {}}),
        ("chat", {"type": "image_url", "image_url": {"url": 5}}),
        ("chat", {"type": "file"}),
        ("chat", {"type": 5}),
        ("responses", {"type": "input_image", "image_url": {"url": "https://x.org/a.png"}}),
        ("messages", {"type": "image"}),
        ("messages", {"type": "image", "source": {}}),
        ("messages", {"type": "image", "source": "x"}),
    ],
)
def test_malformed_items_are_no_request(endpoint: str, part: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        parse(endpoint, **{"input" if endpoint == "responses" else "messages": user(part)})


def test_items_in_many_layers_are_no_request() -> None:
    block: dict[str, Any] = base64_image()
    for _ in range(3):
        block = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    assert parse("messages", messages=user(block)).demand.images == 1
    for _ in range(3):
        block = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    with pytest.raises(InvalidRequest):
        parse("messages", messages=user(block))
