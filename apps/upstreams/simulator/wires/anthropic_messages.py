"""Anthropic Messages.

Source: provider's API reference and the types of its Python SDK 2.12, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from apps.core.tokens import TokenUsage
from apps.upstreams.simulator import seal
from apps.upstreams.simulator.answer import CHUNK_CHARS, Answer
from apps.upstreams.simulator.prompt import Prompt, Refusal
from apps.upstreams.simulator.reply import Frame, event_frame
from apps.upstreams.simulator.wires.anthropic_request import read_request
from apps.upstreams.simulator.wires.protocol import FAILED, OVERLOADED, Request, Speech, short_id

STOP_REASONS: Final = {
    "end": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
}

_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class MessagesWire:
    caches_by_itself = False

    def read(self, request: Request) -> Prompt:
        return read_request(request, needs_max_tokens=True)

    def plain(self, speech: Speech) -> dict[str, Any]:
        answer = speech.answer
        body = {
            **_opening(speech),
            "content": [block for block, _deltas in _blocks(speech, answer)],
            "stop_reason": STOP_REASONS[answer.stop],
            "stop_sequence": answer.stop_sequence,
        }
        if speech.usage is not None:
            body["usage"] = _usage(speech.usage)
        return body

    def stream(self, speech: Speech) -> Iterator[Frame]:
        answer = speech.answer
        yield event_frame({"type": "message_start", "message": _start(speech)})
        for index, (block, deltas) in enumerate(_blocks(speech, answer)):
            yield event_frame({"type": "content_block_start", "index": index, "content_block": _emptied(block)})
            if index == 0:
                yield event_frame({"type": "ping"})
            for delta in deltas:
                # The signature is the seal on what was said, not more of it.
                is_content = delta["type"] != "signature_delta"
                yield event_frame(
                    {"type": "content_block_delta", "index": index, "delta": delta}, is_content=is_content
                )
            yield event_frame({"type": "content_block_stop", "index": index})
        ending: dict[str, Any] = {
            "type": "message_delta",
            "delta": {"stop_reason": STOP_REASONS[answer.stop], "stop_sequence": answer.stop_sequence},
        }
        if speech.usage is not None:
            # Cumulative, and without the split of the cache's writes.
            ending["usage"] = {key: value for key, value in _usage(speech.usage).items() if key in _DELTA_USAGE}
        yield event_frame(ending)
        yield event_frame({"type": "message_stop"})

    def refuse(self, refusal: Refusal) -> dict[str, Any]:
        kind = _TYPES.get(refusal.status, "invalid_request_error" if refusal.status < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": refusal.message}}

    def fail(self, speech: Speech) -> tuple[int, dict[str, Any]]:
        return 500, self.refuse(Refusal(FAILED, status=500))

    def break_off(self, speech: Speech, *, sent: int) -> Iterable[Frame]:
        return [event_frame(self.refuse(Refusal(OVERLOADED, status=529)))]


_DELTA_USAGE: Final = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
)


def _opening(speech: Speech) -> dict[str, Any]:
    return {
        "id": f"msg_{speech.id}",
        "type": "message",
        "role": "assistant",
        "model": speech.prompt.model,
    }


def _start(speech: Speech) -> dict[str, Any]:
    """The message before it says anything; its usage knows the prompt and a provisional token of output."""
    message = {**_opening(speech), "content": [], "stop_reason": None, "stop_sequence": None}
    if speech.usage is not None:
        message["usage"] = {**_usage(speech.usage), "output_tokens": 1}
        message["usage"].pop("output_tokens_details", None)
    return message


def _blocks(speech: Speech, answer: Answer) -> Iterator[tuple[dict[str, Any], Iterable[dict[str, Any]]]]:
    """Each content block, whole, with the deltas that it streams as."""
    thinking = speech.prompt.thinking
    if answer.thought and thinking is not None:
        shown = answer.thought if thinking.is_shown else ""
        signature = seal.seal(answer.thought)
        yield (
            {"type": "thinking", "thinking": shown, "signature": signature},
            [
                *({"type": "thinking_delta", "thinking": part} for part in _parts(shown)),
                {"type": "signature_delta", "signature": signature},
            ],
        )
    if answer.chunks:
        yield (
            {"type": "text", "text": answer.text},
            ({"type": "text_delta", "text": chunk} for chunk in answer.chunks),
        )
    for place, call in enumerate(answer.calls):
        arguments = msgspec.json.decode(call.arguments)
        # The first fragment is always empty, and the only one where there are no arguments.
        fragments = ["", *_parts(call.arguments if arguments else "")]
        yield (
            {"type": "tool_use", "id": short_id("toolu_", speech, place), "name": call.name, "input": arguments},
            ({"type": "input_json_delta", "partial_json": fragment} for fragment in fragments),
        )


def _emptied(block: Mapping[str, Any]) -> dict[str, Any]:
    """A block as it starts: before its first delta."""
    match block["type"]:
        case "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}
        case "text":
            return {"type": "text", "text": ""}
    return {**block, "input": {}}


def _parts(text: str) -> list[str]:
    return [text[start : start + CHUNK_CHARS] for start in range(0, len(text), CHUNK_CHARS)]


def _usage(usage: TokenUsage) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write_5m + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output,
        "service_tier": "standard",
    }
    if usage.reasoning:
        shown["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return shown
