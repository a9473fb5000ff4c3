"""Plain Messages replies: read one from an upstream, write one for a caller."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.dialects.anthropic_messages.endings import read_ending, write_ending
from apps.dialects.anthropic_messages.sealed import signed, thinking_block
from apps.dialects.anthropic_messages.turns import input_object
from apps.dialects.anthropic_messages.usage import read_usage, render_usage
from apps.dialects.common.json_body import NULL, is_null
from apps.dialects.common.scrub import failure_message
from apps.dialects.hub.answer import Answer, AnswerPart, Choice
from apps.dialects.hub.conversation import Image, Refusal, Text, Thinking, ToolCall
from apps.dialects.hub.reasoning import ANTHROPIC, ENCRYPTED, Seal

_ID_PREFIX: Final = "msg_"


class _Block(msgspec.Struct):
    type: str
    text: str = ""
    citations: list[Any] | None = None
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: Raw = NULL


class _Reply(msgspec.Struct):
    type: str = ""
    id: str = ""
    content: list[_Block] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None
    usage: Any = None
    error: Any = None


_REPLY: Final = msgspec.json.Decoder(_Reply)


def read_answer(body: bytes) -> Answer:
    """Blocks that only this protocol knows (results of hosted tools) are left out whole.

    Raises: ValueError, where the body is no message and no error.
    """
    try:
        reply = _REPLY.decode(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if reply.type == "error" or reply.error:
        return Answer(reply.id, failure=failure_message(reply.error))
    if reply.content is None:
        raise ValueError("no content")
    parts = [part for block in reply.content if (part := _read_block(block)) is not None]
    ending = read_ending(reply.stop_reason, reply.stop_sequence, reply.stop_details)
    return Answer(reply.id, [Choice(parts, ending)], read_usage(reply.usage))


def _read_block(block: _Block) -> AnswerPart | None:
    match block.type:
        case "text" if block.text:
            return Text(block.text, citations=block.citations or None)
        case "thinking" if block.thinking or block.signature:
            return Thinking(block.thinking, signed(block.signature))
        case "redacted_thinking" if block.data:
            return Thinking(seal=Seal(ANTHROPIC, ENCRYPTED, block.data))
        case "tool_use":
            return ToolCall(block.id, block.name, "" if is_null(block.input) else bytes(block.input).decode())
    return None


def write_answer(answer: Answer, *, model_id: str, hypereal: bytes) -> bytes:
    """The caller's reply. Messages has one answer per call: `n` was refused."""
    choice = answer.choices[0]
    content = [block for part in choice.parts if (block := _write_part(part)) is not None]
    refusal = "".join(part.text for part in choice.parts if isinstance(part, Refusal))
    has_calls = any(isinstance(part, ToolCall) for part in choice.parts)
    ending = write_ending(choice.ending, refusal=refusal, has_calls=has_calls)
    if not content and ending["stop_reason"] == "end_turn":
        content = [{"type": "text", "text": ""}]
    return msgspec.json.encode(
        {
            "id": message_id(answer.id),
            "type": "message",
            "role": "assistant",
            "model": model_id,
            "content": content,
            **ending,
            "usage": render_usage(answer.usage) if answer.usage is not None else NO_USAGE,
            "hypereal": Raw(hypereal),
        }
    )


NO_USAGE: Final = {"input_tokens": 0, "output_tokens": 0}


def message_id(upstream_id: str) -> str:
    return upstream_id if upstream_id.startswith(_ID_PREFIX) else _ID_PREFIX + upstream_id


def _write_part(part: AnswerPart) -> dict[str, Any] | None:
    if isinstance(part, Text | Refusal):
        return {"type": "text", "text": part.text} if part.text else None
    if isinstance(part, Thinking):
        return thinking_block(part)
    if isinstance(part, Image):
        return image_block(part)
    return {"type": "tool_use", "id": part.id, "name": part.name, "input": input_object(part.arguments)}


def image_block(image: Image) -> dict[str, Any]:
    """A drawn image. The protocol shows images only in requests; the same block is the best word it has."""
    source = (
        {"type": "url", "url": image.url}
        if image.url
        else {"type": "base64", "media_type": image.media_type, "data": image.data}
    )
    return {"type": "image", "source": source}
