"""Meter a plain chat completion."""

from __future__ import annotations

from typing import Any, Final

from apps.core.tokens import TokenUsage
from apps.dialects.common.json_reply import open_reply
from apps.dialects.common.metering import members, text_bytes, texts_bytes
from apps.dialects.common.scrub import failure_message
from apps.dialects.openai_chat.usage import read_usage
from apps.dialects.protocol import Reply

_TEXTS: Final = frozenset({"content", "reasoning_content", "refusal"})
_CALL: Final = ("name", "arguments")


def read_reply(body: bytes) -> Reply:
    """Raises: ValueError, where the body is no chat completion and no error."""
    reply = open_reply(body)
    if reply.get("error"):
        return Reply(usage=None, output_bytes=0, failure=failure_message(reply["error"]))
    choices = reply.get("choices")
    if not isinstance(choices, list):
        raise ValueError("no choices")
    if not all(isinstance(choice, dict) for choice in choices):
        raise ValueError("a choice is no object")
    messages = [choice.get("message") for choice in choices]
    return Reply(
        usage=_usage_in(reply, choices),
        output_bytes=sum(message_bytes(message) for message in messages if isinstance(message, dict)),
        images=sum(len(members(message, "images")) for message in messages),
    )


def _usage_in(reply: dict[str, Any], choices: list[dict[str, Any]]) -> TokenUsage | None:
    """At the top, in a choice (Moonshot), or in `x_groq` (Groq)."""
    for holder in (reply, *choices, reply.get("x_groq")):
        found = holder.get("usage") if isinstance(holder, dict) else None
        usage = read_usage(found) if isinstance(found, dict) else None
        if usage is not None:
            return usage
    return None


def message_bytes(message: dict[str, Any]) -> int:
    """UTF-8 length of what a message or a delta says: text, reasoning, refusal, tool calls."""
    size = 0
    for name, value in message.items():
        if isinstance(value, str):
            # Some send the same reasoning under both of its names.
            if name in _TEXTS or (name == "reasoning" and "reasoning_content" not in message):
                size += text_bytes(value)
        elif value:
            size += _nested_bytes(name, value)
    return size


def _nested_bytes(name: str, value: object) -> int:
    if name == "tool_calls" and isinstance(value, list):
        return sum(_call_bytes(call) for call in value if isinstance(call, dict))
    if name == "content" and isinstance(value, list):
        return sum(texts_bytes(part, ("text",)) for part in value)
    return texts_bytes(value, _CALL) if name == "function_call" else 0


def _call_bytes(call: dict[str, Any]) -> int:
    return texts_bytes(call.get("function"), _CALL) + texts_bytes(call.get("custom"), ("name", "input"))
