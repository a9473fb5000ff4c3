"""Images through chat: `nano-banana-2` draws for an OpenAI client, whichever protocol its provider speaks."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from tests.flows.bills import bill
from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT
from tests.flows.rig import Person, http
from tests.flows.simulator import simulate_upstream
from tests.flows.upstream import Answer, Received, plain, streamed

MODEL: Final = "nano-banana-2"
GEMINI: Final = replace(CHAT, model=MODEL, dialect="gemini", base_path="/v1beta")
ASKED: Final[dict[str, Any]] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "A red fox in the snow"}],
    "modalities": ["image", "text"],
    "image_config": {"aspect_ratio": "1:1", "image_size": "1K"},
}
PNG: Final = b"\x89PNG\r\n\x1a\n"
JPEG: Final = base64.b64encode(b"\xff\xd8\xff\xe0 a picture").decode()
USAGE: Final = {
    "promptTokenCount": 12,
    "candidatesTokenCount": 1_336,
    "thoughtsTokenCount": 40,
    "totalTokenCount": 1_388,
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1_290}],
}
COST: Final = bill(MODEL, input=12, output=1_376)


def chunk(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"role": "model", "parts": list(parts)}, "index": 0, **more}],
        "responseId": "r1",
    }


def draws(data: str = JPEG) -> Callable[[Received], Answer]:
    """Gemini: a word, an image with its signature, the end."""
    image = {"inlineData": {"mimeType": "image/jpeg", "data": data}, "thoughtSignature": "CiQB"}
    parts: list[dict[str, Any]] = [{"text": "Hm", "thought": True}, {"text": "Here: "}, image]

    def answer(received: Received) -> Answer:
        if received.path.endswith(":generateContent"):
            return plain(json.dumps({**chunk(*parts, finishReason="STOP"), "usageMetadata": USAGE}).encode())
        chunks = [*(chunk(part) for part in parts), {**chunk(finishReason="STOP"), "usageMetadata": USAGE}]
        return streamed([b"data: " + json.dumps(made).encode() + b"\r\n\r\n" for made in chunks])

    return answer


def decoded(image: dict[str, Any], media_type: str) -> bytes:
    head = f"data:{media_type};base64,"
    url = image["image_url"]["url"]
    assert url.startswith(head)
    return base64.b64decode(url.removeprefix(head), validate=True)


@pytest.mark.parametrize("speaks", ["openai-chat", "gemini"])
@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
def test_the_simulator_draws_a_png_in_either_protocol(
    alice: Person, add_upstream: AddUpstream, speaks: str, is_stream: bool
) -> None:
    with simulate_upstream() as simulated:
        if speaks == "gemini":
            add_upstream(GEMINI, plain(b""), base_url=simulated.root)
        reply = alice.call(CHAT.path, {**ASKED, "stream": is_stream, "stream_options": {"include_usage": True}}
                           if is_stream else ASKED)  # fmt: skip
    assert reply.status == 200
    if is_stream:
        images = [
            image
            for event in reply.events[:-1]
            for choice in event["choices"]
            for image in choice["delta"].get("images", ())
        ]
        last = reply.events[-2]
    else:
        images, last = reply.json["choices"][0]["message"]["images"], reply.json
    assert [decoded(image, "image/png")[:8] for image in images] == [PNG]
    usage = last["usage"]
    cost = bill(MODEL, input=usage["prompt_tokens"], output=usage["completion_tokens"])
    assert last["hypereal"]["billing"]["credits_charged"] == cost
    assert alice.balance == alice.opening_balance - cost


def test_a_gemini_provider_is_asked_in_its_own_words(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(GEMINI, draws())
    reply = alice.call(CHAT.path, ASKED)
    assert reply.status == 200
    [call] = script.calls
    assert call.path == "/v1beta/models/theirs:generateContent"
    assert call.json["contents"] == [{"role": "user", "parts": [{"text": "A red fox in the snow"}]}]
    config = call.json["generationConfig"]
    assert config["responseModalities"] == ["TEXT", "IMAGE"]
    assert config["imageConfig"] == {"aspectRatio": "1:1", "imageSize": "1K"}
    assert "model" not in call.json


def test_an_image_has_the_type_that_the_provider_says_and_is_billed_as_it_counts(
    alice: Person, add_upstream: AddUpstream
) -> None:
    add_upstream(GEMINI, draws())
    reply = alice.call(CHAT.path, ASKED)
    message = reply.json["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Here: ", "Hm")
    assert [decoded(image, "image/jpeg") for image in message["images"]] == [base64.b64decode(JPEG)]
    assert reply.json["usage"]["completion_tokens_details"] == {"reasoning_tokens": 40, "image_tokens": 1_290}
    assert reply.billing["credits_charged"] == COST
    assert alice.balance == alice.opening_balance - COST


def test_the_official_client_streams_images_as_deltas(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(GEMINI, draws())
    with alice.openai() as client:
        stream = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "A fox"}],
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"modalities": ["image", "text"]},
        )
        chunks = [chunk.to_dict() for chunk in stream]
    deltas = [choice["delta"] for made in chunks for choice in made["choices"]]  # type: ignore[attr-defined]
    images = [image for delta in deltas for image in delta.get("images", ())]
    assert [decoded(image, "image/jpeg") for image in images] == [base64.b64decode(JPEG)]
    assert "".join(delta.get("content") or "" for delta in deltas) == "Here: "
    assert script.calls[0].path == "/v1beta/models/theirs:streamGenerateContent?alt=sse"
    assert alice.newest_record()["credits_charged"] == COST


def test_an_image_that_is_sent_back_to_be_changed_keeps_its_signature(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(GEMINI, draws())
    message = alice.call(CHAT.path, ASKED).json["choices"][0]["message"]
    messages = [*ASKED["messages"], message, {"role": "user", "content": "Make it blue"}]
    assert alice.call(CHAT.path, {**ASKED, "messages": messages}).status == 200
    assert script.calls[1].json["contents"] == [
        {"role": "user", "parts": [{"text": "A red fox in the snow"}]},
        {
            "role": "model",
            "parts": [
                {"text": "Here: "},
                {"inlineData": {"mimeType": "image/jpeg", "data": JPEG}, "thoughtSignature": "CiQB"},
            ],
        },
        {"role": "user", "parts": [{"text": "Make it blue"}]},
    ]


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
def test_an_image_of_eight_megabytes_arrives_whole(alice: Person, add_upstream: AddUpstream, is_stream: bool) -> None:
    data = base64.b64encode(bytes(range(256)) * (8 * 4 * 1024)).decode()
    add_upstream(GEMINI, draws(data))
    reply = http.post(
        f"{alice.server.url}{CHAT.path}", content=json.dumps({**ASKED, "stream": is_stream}), headers=alice.headers()
    )
    assert reply.status_code == 200
    assert reply.text.count(f"data:image/jpeg;base64,{data}") == 1
    assert alice.newest_record()["credits_charged"] == COST


def test_a_prompt_that_the_provider_blocks_is_a_filtered_answer_for_what_it_counted(
    alice: Person, add_upstream: AddUpstream
) -> None:
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"trafficType": "ON_DEMAND"}}
    add_upstream(GEMINI, plain(json.dumps(blocked).encode()))
    reply = alice.call(CHAT.path, ASKED)
    assert (reply.status, reply.json["choices"][0]["finish_reason"]) == (200, "content_filter")
    assert reply.billing["credits_charged"] == 0
    alice.assert_paid_nothing()


def test_a_failure_in_the_midst_of_a_stream_costs_nothing(alice: Person, add_upstream: AddUpstream) -> None:
    down = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    said, failed = (b"data: " + json.dumps(made).encode() + b"\r\n\r\n" for made in (chunk({"text": "Hm"}), down))
    add_upstream(GEMINI, streamed([said, 0.2, failed]))
    reply = alice.call(CHAT.path, {**ASKED, "stream": True})
    assert reply.events[-1]["error"]["code"] == "upstream_overloaded"
    alice.assert_paid_nothing()
