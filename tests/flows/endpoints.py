"""The four wire protocols as a caller and as an upstream sees them: small valid requests, replies and streams."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

TEXT = "Twelve dogs ran."
"""What a scripted upstream says, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a scripted upstream reports."""

    input: int = 1_200
    output: int = 300
    cache_read: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    name: str
    """As usage records say."""
    path: str
    model: str
    """A model that speaks this dialect and costs little enough to be called a thousand times."""
    dialect: str
    upstream_path: str
    base_path: str
    """What a provider's own SDK has at the end of its base URL."""
    is_anthropic: bool
    make_body: Callable[[str], dict[str, Any]]
    make_reply: Callable[[Tokens, str], dict[str, Any]]
    make_events: Callable[[Tokens, str, int], list[bytes]]
    maximum: str | None
    """The field that bounds the output."""

    def body(self, text: str = "Hi", *, model: str | None = None, **fields: Any) -> dict[str, Any]:
        return {"model": model or self.model, **self.make_body(text), **fields}

    def at_most(self, tokens: int) -> dict[str, Any]:
        """The field that bounds the output, where there is one."""
        return {self.maximum: tokens} if self.maximum else {}

    def reply(self, tokens: Tokens | None = None, text: str = TEXT) -> bytes:
        return json.dumps(self.make_reply(tokens or Tokens(), text)).encode()

    def events(self, tokens: Tokens | None = None, text: str = TEXT, *, parts: int = 4) -> list[bytes]:
        """A whole stream, one event each; the text comes in `parts`."""
        return self.make_events(tokens or Tokens(), text, parts)

    def status(self, status: int) -> int:
        """What this dialect says in place of 503 for overload."""
        return 529 if status == 503 and self.is_anthropic else status


def frame(data: Mapping[str, Any] | str, *, name: str = "") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def typed(data: Mapping[str, Any]) -> bytes:
    return frame(data, name=str(data["type"]))


def pieces(text: str, parts: int) -> list[str]:
    return [text[len(text) * part // parts : len(text) * (part + 1) // parts] for part in range(parts)]


def _chat_usage(tokens: Tokens) -> dict[str, Any]:
    prompt = tokens.input + tokens.cache_read
    return {
        "prompt_tokens": prompt,
        "completion_tokens": tokens.output,
        "total_tokens": prompt + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cache_read},
    }


def _chat_reply(tokens: Tokens, text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "theirs",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": _chat_usage(tokens),
    }


def chat_chunk(delta: Mapping[str, Any], *, finish_reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": "theirs"}
    return frame({**head, "choices": [choice], **more})


def _chat_events(tokens: Tokens, text: str, parts: int) -> list[bytes]:
    usage = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "theirs", "choices": []}
    return [
        chat_chunk({"role": "assistant", "content": ""}),
        *(chat_chunk({"content": piece}) for piece in pieces(text, parts)),
        chat_chunk({}, finish_reason="stop"),
        frame({**usage, "usage": _chat_usage(tokens)}),
        frame("[DONE]"),
    ]


def _response(tokens: Tokens | None, text: str, *, status: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [part]}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": status,
        "model": "theirs",
        "output": [item] if text else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None
        if tokens is None
        else {
            "input_tokens": tokens.input + tokens.cache_read,
            "input_tokens_details": {"cached_tokens": tokens.cache_read},
            "output_tokens": tokens.output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens.input + tokens.cache_read + tokens.output,
        },
    }


def _responses_reply(tokens: Tokens, text: str) -> dict[str, Any]:
    return _response(tokens, text, status="completed")


def _responses_events(tokens: Tokens, text: str, parts: int) -> list[bytes]:
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    deltas = [
        {"type": "response.output_text.delta", "delta": piece, "logprobs": [], **where} for piece in pieces(text, parts)
    ]
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": _response(None, "", status="in_progress")},
        *deltas,
        {"type": "response.completed", "response": _response(tokens, text, status="completed")},
    ]
    return [typed({**event, "sequence_number": number}) for number, event in enumerate(events)]


def _messages_usage(tokens: Tokens) -> dict[str, Any]:
    return {
        "input_tokens": tokens.input,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation_input_tokens": 0,
        "output_tokens": tokens.output,
    }


def _messages_reply(tokens: Tokens, text: str) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "theirs",
        "content": [{"type": "text", "text": text}] if text else [],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _messages_usage(tokens),
    }


def _messages_events(tokens: Tokens, text: str, parts: int) -> list[bytes]:
    opened = _messages_reply(Tokens(tokens.input, 1, tokens.cache_read), "") | {"stop_reason": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": opened},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
            for piece in pieces(text, parts)
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": tokens.output},
        },
        {"type": "message_stop"},
    ]
    return [typed(event) for event in events]


def _image_usage(tokens: Tokens) -> dict[str, Any]:
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {"text_tokens": tokens.input, "image_tokens": 0},
        "output_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
    }


def _images_reply(tokens: Tokens, text: str) -> dict[str, Any]:
    return {"created": 1_790_000_000, "data": [{"b64_json": "aGk="}], "usage": _image_usage(tokens)}


def _images_events(tokens: Tokens, text: str, parts: int) -> list[bytes]:
    look = {"b64_json": "aGk=", "created_at": 1, "size": "1024x1024", "quality": "low", "background": "opaque"}
    partial = {"type": "image_generation.partial_image", "output_format": "png", **look}
    return [
        *(typed({**partial, "partial_image_index": number}) for number in range(min(parts, 3))),
        typed({"type": "image_generation.completed", "output_format": "png", "usage": _image_usage(tokens), **look}),
    ]


CHAT: Final = Endpoint(
    name="chat",
    path="/v1/managed/chat/completions",
    model="deepseek-v4-pro",
    dialect="openai-chat",
    upstream_path="/v1/chat/completions",
    base_path="/v1",
    is_anthropic=False,
    make_body=lambda text: {"messages": [{"role": "user", "content": text}]},
    make_reply=_chat_reply,
    make_events=_chat_events,
    maximum="max_tokens",
)
RESPONSES: Final = Endpoint(
    name="responses",
    path="/v1/managed/responses",
    model="gpt-5-5",
    dialect="openai-responses",
    upstream_path="/v1/responses",
    base_path="/v1",
    is_anthropic=False,
    make_body=lambda text: {"input": text},
    make_reply=_responses_reply,
    make_events=_responses_events,
    maximum="max_output_tokens",
)
MESSAGES: Final = Endpoint(
    name="messages",
    path="/v1/messages",
    model="claude-haiku-latest",
    dialect="anthropic-messages",
    upstream_path="/v1/messages",
    base_path="",
    is_anthropic=True,
    make_body=lambda text: {"max_tokens": 500, "messages": [{"role": "user", "content": text}]},
    make_reply=_messages_reply,
    make_events=_messages_events,
    maximum="max_tokens",
)
IMAGES: Final = Endpoint(
    name="images",
    path="/v1/managed/images/generations",
    model="gpt-image-2",
    dialect="openai-images",
    upstream_path="/v1/images/generations",
    base_path="/v1",
    is_anthropic=False,
    make_body=lambda text: {"prompt": text, "quality": "low"},
    make_reply=_images_reply,
    make_events=_images_events,
    maximum=None,
)
ENDPOINTS: Final = (CHAT, RESPONSES, MESSAGES, IMAGES)
TEXT_ENDPOINTS: Final = (CHAT, RESPONSES, MESSAGES)
