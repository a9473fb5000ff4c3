"""Small conversations, and what an upstream that speaks Messages gets of them."""

from __future__ import annotations

import json
from typing import Any

from apps.dialects.anthropic_messages.body import write_conversation
from apps.dialects.hub.conversation import (
    Conversation,
    Text,
    Turn,
)

HI = Turn("user", [Text("Hi")], "messages[0]")
OLD, NEW, NEWEST = "claude-haiku-4-5", "claude-opus-4-6", "claude-opus-4-8"


def asked(*turns: Turn, **fields: Any) -> Conversation:
    return Conversation(list(turns) or [HI], **fields)


def sent(conversation: Conversation, model: str = NEWEST, max_tokens: int | None = None) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(write_conversation(conversation, upstream_model=model, max_tokens=max_tokens))
    return body


def messages(*turns: Turn) -> Any:
    return sent(asked(*turns))["messages"]


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}
