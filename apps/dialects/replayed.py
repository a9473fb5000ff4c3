"""Replies to repeats whose first reply is not kept: valid in their dialect, with usage and bill, and nothing said.

Everything is as SDKs require it. `hypereal` is a JSON object's bytes, where each dialect has it (SPEC 2.4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.core.tokens import TokenUsage
from apps.dialects.anthropic_messages import usage as messages_usage
from apps.dialects.common.sse import frame_of
from apps.dialects.openai_chat import usage as chat_usage
from apps.dialects.openai_responses import usage as responses_usage

Object = dict[str, Any]

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Silent:
    """A reply of which only this is known."""

    id: str
    """Without the dialect's own prefix."""
    model_id: str
    made_at: datetime
    usage: TokenUsage
    hypereal: bytes
    wants_usage: bool = True
    """Chat streams: the caller asked for the usage chunk."""

    @property
    def unix(self) -> int:
        return int(self.made_at.timestamp())


def silent_reply(endpoint: str, silent: Silent) -> bytes:
    """A plain reply of this endpoint's dialect."""
    return _encode({**_REPLIES[endpoint](silent), "hypereal": Raw(silent.hypereal)})


def silent_stream(endpoint: str, silent: Silent) -> bytes:
    """A whole stream of this endpoint's dialect."""
    return _STREAMS[endpoint](silent)


def _chat(silent: Silent) -> Object:
    message = {"role": "assistant", "content": "", "refusal": None}
    return {
        "id": f"chatcmpl-{silent.id}",
        "object": "chat.completion",
        "created": silent.unix,
        "model": silent.model_id,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": chat_usage.render_usage(silent.usage),
    }


def _chat_stream(silent: Silent) -> bytes:
    head = {**_chat(silent), "object": "chat.completion.chunk"}
    del head["usage"]
    hypereal = {"hypereal": Raw(silent.hypereal)}

    def chunk(delta: Object, finish_reason: str | None, **more: object) -> Object:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**head, "choices": [choice], **more}

    opened = chunk({"role": "assistant", "content": ""}, None)
    if not silent.wants_usage:
        return _frames([opened, chunk({}, "stop", **hypereal)], done=True)
    usage = {**head, "choices": [], "usage": chat_usage.render_usage(silent.usage), **hypereal}
    return _frames([opened, chunk({}, "stop"), usage], done=True)


def _response(silent: Silent, *, status: str = "completed") -> Object:
    is_complete = status == "completed"
    return {
        "id": f"resp_{silent.id}",
        "object": "response",
        "created_at": silent.unix,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": silent.model_id,
        "output": [],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": responses_usage.render_usage(silent.usage) if is_complete else None,
    }


def _responses_stream(silent: Silent) -> bytes:
    completed = {**_response(silent), "hypereal": Raw(silent.hypereal)}
    events = [
        {"type": "response.created", "sequence_number": 0, "response": _response(silent, status="in_progress")},
        {"type": "response.completed", "sequence_number": 1, "response": completed},
    ]
    return _typed(events)


def _message(silent: Silent) -> Object:
    return {
        "id": f"msg_{silent.id}",
        "type": "message",
        "role": "assistant",
        "model": silent.model_id,
        "content": [],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": messages_usage.render_usage(silent.usage),
    }


def _messages_stream(silent: Silent) -> bytes:
    whole = _message(silent)
    opened = {**whole, "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 0}}
    ending = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": whole["usage"],
        "hypereal": Raw(silent.hypereal),
    }
    return _typed([{"type": "message_start", "message": opened}, ending, {"type": "message_stop"}])


def _images(silent: Silent) -> Object:
    return {"created": silent.unix, "data": [], "usage": _image_usage(silent.usage)}


def _images_stream(silent: Silent) -> bytes:
    completed = {
        "type": "image_generation.completed",
        "b64_json": "",
        "created_at": silent.unix,
        "background": "auto",
        "output_format": "png",
        "quality": "auto",
        "size": "auto",
        "usage": _image_usage(silent.usage),
        "hypereal": Raw(silent.hypereal),
    }
    return _typed([completed])


def _image_usage(usage: TokenUsage) -> Object:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {
            "text_tokens": usage.prompt - usage.image_input,
            "image_tokens": usage.image_input,
        },
        "output_tokens": usage.output,
        "total_tokens": usage.total,
    }


def _frames(events: list[Object], *, done: bool = False) -> bytes:
    return b"".join(frame_of(b"", _encode(event)) for event in events) + (frame_of(b"", b"[DONE]") if done else b"")


def _typed(events: list[Object]) -> bytes:
    return b"".join(frame_of(event["type"].encode(), _encode(event)) for event in events)


_REPLIES: Final[Mapping[str, Callable[[Silent], Object]]] = {
    "chat": _chat,
    "responses": _response,
    "messages": _message,
    "images": _images,
}
_STREAMS: Final[Mapping[str, Callable[[Silent], bytes]]] = {
    "chat": _chat_stream,
    "responses": _responses_stream,
    "messages": _messages_stream,
    "images": _images_stream,
}
