"""Meter a plain Messages reply."""

from __future__ import annotations

from typing import Final

import msgspec

from apps.dialects.anthropic_messages.usage import read_usage
from apps.dialects.common.json_reply import open_reply
from apps.dialects.common.metering import text_bytes, texts_bytes
from apps.dialects.common.scrub import failure_message
from apps.dialects.protocol import Reply

_TEXTS: Final = ("text", "thinking", "data", "name")


def read_reply(body: bytes) -> Reply:
    """Raises: ValueError, where the body is no message and no error."""
    reply = open_reply(body)
    if reply.get("type") == "error" or reply.get("error"):
        return Reply(usage=None, output_bytes=0, failure=failure_message(reply))
    content = reply.get("content")
    if not isinstance(content, list):
        raise ValueError("no content")
    return Reply(usage=read_usage(reply.get("usage")), output_bytes=sum(block_bytes(block) for block in content))


def block_bytes(block: object) -> int:
    """UTF-8 length of what one block says: text, thinking, a tool call. Of thinking that is not shown there is only its
    encrypted form, in `signature` or `data`."""
    if not isinstance(block, dict):
        return 0
    size = texts_bytes(block, _TEXTS)
    if block.get("type") == "thinking" and not block.get("thinking"):
        size += text_bytes(block.get("signature"))
    arguments = block.get("input")
    return size + len(msgspec.json.encode(arguments)) if arguments else size
