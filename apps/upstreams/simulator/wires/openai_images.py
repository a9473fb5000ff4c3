"""OpenAI Images, generations only.

Source: provider's API reference and the types of its Python SDK 3.54, read 2026-11.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any, Final

from apps.core.tokens import TokenUsage
from apps.upstreams.simulator import canvas, directives, png, reading
from apps.upstreams.simulator.prompt import Canvas, Context, Prompt, Refusal, Talk
from apps.upstreams.simulator.reply import Frame, event_frame
from apps.upstreams.simulator.wires import openai_shared
from apps.upstreams.simulator.wires.protocol import FAILED, Request, Speech

MAX_PARTIAL_IMAGES: Final = 3


class ImagesWire:
    caches_by_itself = False

    def read(self, request: Request) -> Prompt:
        fields = request.fields
        said = reading.text(fields, "prompt")
        if "response_format" in fields:
            raise Refusal("Unknown parameter: 'response_format'.", param="response_format", code="unknown_parameter")
        if fields.get("output_format", "png") != "png":
            raise Refusal("The simulator draws 'png' only.", param="output_format", code="invalid_value")
        reading.integer(fields, "partial_images", least=0, most=MAX_PARTIAL_IMAGES)
        is_stream = reading.flag(fields, "stream")
        wanted = canvas.for_images(fields)
        if is_stream and wanted.n > 1:
            raise Refusal("Streaming is supported for n = 1 only.", param="n", code="invalid_value")
        context = Context()
        context.add(said)
        ask = directives.remove(said)
        return Prompt(
            model=reading.text(fields, "model"),
            fields=fields,
            context=context,
            talk=Talk(said=ask, ask=ask, turns=1),
            directives=directives.read(said),
            is_stream=is_stream,
            canvas=wanted,
        )

    def plain(self, speech: Speech) -> dict[str, Any]:
        body = {
            "created": speech.created_at,
            **_facts(speech),
            "data": [{"b64_json": _base64(image)} for image in speech.answer.images],
        }
        if speech.usage is not None:
            body["usage"] = _usage(speech.usage)
        return body

    def stream(self, speech: Speech) -> Iterator[Frame]:
        facts = {"created_at": speech.created_at, **_facts(speech)}
        wanted = _canvas(speech)
        for index in range(speech.prompt.fields.get("partial_images") or 0):
            draft = png.draw(f"{speech.prompt.talk.said} 1", wanted.width, wanted.height, 2 * index + 2)
            payload = {
                "type": "image_generation.partial_image",
                "b64_json": _base64(draft),
                "partial_image_index": index,
                **facts,
            }
            yield event_frame(payload, is_content=True)
        completed = {"type": "image_generation.completed", "b64_json": _base64(speech.answer.images[0]), **facts}
        if speech.usage is not None:
            completed["usage"] = _usage(speech.usage)
        yield event_frame(completed, is_content=True)

    def refuse(self, refusal: Refusal) -> dict[str, Any]:
        return openai_shared.error(refusal)

    def fail(self, speech: Speech) -> tuple[int, dict[str, Any]]:
        return 500, openai_shared.error(Refusal(FAILED, status=500))

    def break_off(self, speech: Speech, *, sent: int) -> Iterable[Frame]:
        return [event_frame({"type": "error", **openai_shared.error(Refusal(FAILED, status=500))})]


def _canvas(speech: Speech) -> Canvas:
    assert speech.prompt.canvas is not None  # every request of this dialect has one
    return speech.prompt.canvas


def _facts(speech: Speech) -> dict[str, Any]:
    """What is told of each image: `auto` is resolved, as the provider does."""
    quality, wanted = speech.prompt.fields.get("quality") or "auto", _canvas(speech)
    return {
        "background": "opaque",
        "output_format": "png",
        "quality": "medium" if quality == "auto" else quality,
        "size": f"{wanted.width}x{wanted.height}",
    }


def _base64(image: bytes) -> str:
    return base64.b64encode(image).decode()


def _usage(usage: TokenUsage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"text_tokens": usage.prompt, "image_tokens": 0},
        "output_tokens": usage.output,
        "output_tokens_details": {
            "image_tokens": usage.image_output,
            "text_tokens": usage.output - usage.image_output,
        },
        "total_tokens": usage.total,
    }
