"""Meter a plain Messages reply."""

from __future__ import annotations

from typing import Final

import msgspec

from apps.dialects.anthropic_messages.usage import read_usage
from apps.dialects.common.json_reply import open_reply
from apps.dialects.common.metering import hear_texts, seal_bytes
from apps.dialects.common.scrub import failure_message
from apps.dialects.protocol import Reply
from apps.dialects.said import Said

_TEXTS: Final = ("text", "thinking", "name")


def read_reply(body: bytes) -> Reply:
    """Raises: ValueError, where the body is no message and no error."""
    reply = open_reply(body)
    if reply.get("type") == "error" or reply.get("error"):
        return Reply(usage=None, failure=failure_message(reply))
    content = reply.get("content")
    if not isinstance(content, list):
        raise ValueError("no content")
    said = Said()
    for index, block in enumerate(content):
        hear_block(said, index, block)
    return Reply(usage=read_usage(reply.get("usage")), said=said)


def hear_block(said: Said, index: int, block: object) -> None:
    """Keep what one block says: text, thinking, a tool call. Of thinking that is not shown there is only its encrypted
    form, in `signature` or `data`."""
    if not isinstance(block, dict):
        return
    hear_texts(said, index, block, _TEXTS)
    said.seal(seal_bytes(block.get("data")))
    if block.get("type") == "thinking" and not block.get("thinking"):
        said.seal(seal_bytes(block.get("signature")))
    arguments = block.get("input")
    if arguments:
        said.hear(index, msgspec.json.encode(arguments).decode())
