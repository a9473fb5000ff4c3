"""Meter a plain Responses reply."""

from __future__ import annotations

from typing import Final

from apps.dialects.common.json_reply import open_reply
from apps.dialects.common.metering import members, texts_bytes
from apps.dialects.common.scrub import failure_message
from apps.dialects.openai_responses.usage import read_usage
from apps.dialects.protocol import Reply

BILLABLE: Final = frozenset({"completed", "incomplete"})
"""An incomplete reply was generated, and the provider charges for it."""

_ITEM_TEXTS: Final = ("name", "arguments", "input", "encrypted_content")
_PART_TEXTS: Final = ("text", "refusal")


def read_reply(body: bytes) -> Reply:
    """Raises: ValueError, where the body is no response and no error."""
    reply = open_reply(body)
    status = str(reply.get("status") or "completed")
    if reply.get("error") or status not in BILLABLE:
        error = reply.get("error") or f"The upstream ended the response with status {status}."
        return Reply(usage=None, output_bytes=0, failure=failure_message(error))
    output = reply.get("output")
    if not isinstance(output, list):
        raise ValueError("no output")
    return Reply(usage=read_usage(reply.get("usage")), output_bytes=sum(item_bytes(item) for item in output))


def item_bytes(item: object) -> int:
    """UTF-8 length of what one output item says: text, calls, reasoning (encrypted where it is not shown)."""
    parts = [*members(item, "content"), *members(item, "summary")]
    return texts_bytes(item, _ITEM_TEXTS) + sum(texts_bytes(part, _PART_TEXTS) for part in parts)
