"""Meter a plain chat completion."""

from __future__ import annotations

from typing import Any, Final

from apps.core.tokens import TokenUsage
from apps.dialects.common.json_reply import open_reply
from apps.dialects.common.metering import hear_texts, members
from apps.dialects.common.scrub import failure_message
from apps.dialects.openai_chat.usage import read_usage
from apps.dialects.protocol import Reply
from apps.dialects.said import Said

_TEXTS: Final = frozenset({"content", "reasoning_content", "refusal"})
_CALL: Final = ("name", "arguments")
_CUSTOM_CALL: Final = ("name", "input")


def read_reply(body: bytes) -> Reply:
    """Raises: ValueError, where the body is no chat completion and no error."""
    reply = open_reply(body)
    if reply.get("error"):
        return Reply(usage=None, failure=failure_message(reply["error"]))
    choices = reply.get("choices")
    if not isinstance(choices, list):
        raise ValueError("no choices")
    if not all(isinstance(choice, dict) for choice in choices):
        raise ValueError("a choice is no object")
    messages = [choice.get("message") for choice in choices]
    said = Said()
    for index, message in enumerate(messages):
        if isinstance(message, dict):
            hear_message(said, index, message)
    return Reply(
        usage=usage_in(reply, choices),
        said=said,
        images=sum(len(members(message, "images")) for message in messages),
    )


def usage_in(reply: dict[str, Any], choices: list[dict[str, Any]]) -> TokenUsage | None:
    """At the top, in a choice (Moonshot), or in `x_groq` (Groq)."""
    for holder in (reply, *choices, reply.get("x_groq")):
        found = holder.get("usage") if isinstance(holder, dict) else None
        usage = read_usage(found) if isinstance(found, dict) else None
        if usage is not None:
            return usage
    return None


def hear_message(said: Said, choice: int, message: dict[str, Any]) -> None:
    """Keep what a message or a delta says: text, reasoning, refusal, tool calls."""
    for name, value in message.items():
        if isinstance(value, str):
            # Some send the same reasoning under both of its names.
            if name in _TEXTS or (name == "reasoning" and "reasoning_content" not in message):
                said.hear((choice, name), value)
        elif value:
            _hear_nested(said, choice, name, value)


def _hear_nested(said: Said, choice: int, name: str, value: object) -> None:
    if name == "tool_calls" and isinstance(value, list):
        for position, call in enumerate(value):
            if isinstance(call, dict):
                block = (choice, name, call.get("index", position))
                hear_texts(said, block, call.get("function"), _CALL)
                hear_texts(said, block, call.get("custom"), _CUSTOM_CALL)
    elif name == "content" and isinstance(value, list):
        for part in value:
            hear_texts(said, (choice, name), part, ("text",))
    elif name == "function_call":
        hear_texts(said, (choice, name), value, _CALL)
