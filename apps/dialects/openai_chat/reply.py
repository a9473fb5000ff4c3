"""Meter a plain chat completion, whose images may be megabytes of base64: only their number is read."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.core.tokens import TokenUsage
from apps.dialects.common.json_body import NULL, first_byte
from apps.dialects.common.metering import hear_texts
from apps.dialects.common.scrub import failure_message
from apps.dialects.openai_chat.usage import read_usage
from apps.dialects.protocol import Reply
from apps.dialects.said import Said

_CALL: Final = ("name", "arguments")
_CUSTOM_CALL: Final = ("name", "input")


class Message(msgspec.Struct, gc=False):
    """As much of a message, or of a stream's delta, as an estimate counts."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    images: Raw = NULL


class _Choice(msgspec.Struct):
    message: Message | None = None
    usage: Any = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None
    x_groq: Any = None
    error: Any = None


_COMPLETION: Final = msgspec.json.Decoder(_Completion)
_IMAGES: Final = msgspec.json.Decoder(list[Raw])


def read_reply(body: bytes) -> Reply:
    """Raises: ValueError, where the body is no chat completion and no error."""
    try:
        reply = _COMPLETION.decode(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if reply.error:
        return Reply(usage=None, failure=failure_message(reply.error))
    if reply.choices is None:
        raise ValueError("no choices")
    said = Said()
    images = 0
    for index, choice in enumerate(reply.choices):
        if choice.message is not None:
            hear_message(said, index, choice.message)
            images += count_images(choice.message)
    usages = [reply.usage, *(choice.usage for choice in reply.choices)]
    return Reply(usage=usage_in(*usages, in_groq(reply.x_groq)), said=said, images=images)


def usage_in(*found: object) -> TokenUsage | None:
    """The first of these that counts something: at the top, in a choice (Moonshot), in `x_groq`."""
    for counts in found:
        usage = read_usage(counts) if isinstance(counts, dict) else None
        if usage is not None:
            return usage
    return None


def in_groq(extras: object) -> object:
    """Where Groq counts."""
    return extras.get("usage") if isinstance(extras, dict) else None


def count_images(message: Message) -> int:
    return len(_IMAGES.decode(message.images)) if first_byte(message.images) == b"[" else 0


def hear_message(said: Said, choice: int, message: Message) -> None:
    """Keep what a message or a delta says: text, reasoning, refusal, tool calls."""
    content = message.content
    if isinstance(content, str):
        said.hear((choice, "content"), content)
    elif isinstance(content, list):
        for part in content:
            hear_texts(said, (choice, "content"), part, ("text",))
    # Some send the same reasoning under both of its names.
    reasoning = message.reasoning_content if message.reasoning_content is not None else message.reasoning
    if isinstance(reasoning, str):
        said.hear((choice, "reasoning"), reasoning)
    if isinstance(message.refusal, str):
        said.hear((choice, "refusal"), message.refusal)
    if isinstance(message.tool_calls, list):
        _hear_calls(said, choice, message.tool_calls)
    if message.function_call is not None:
        hear_texts(said, (choice, "function_call"), message.function_call, _CALL)


def _hear_calls(said: Said, choice: int, calls: list[Any]) -> None:
    for position, call in enumerate(calls):
        if isinstance(call, dict):
            index = call.get("index")
            block = (choice, "tool_calls", index if type(index) is int else position)
            hear_texts(said, block, call.get("function"), _CALL)
            hear_texts(said, block, call.get("custom"), _CUSTOM_CALL)
