"""Meter a plain Responses reply."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Raw

from apps.dialects.common.json_reply import ReplyFields, open_fields, open_reply
from apps.dialects.common.metering import hear_texts, members, seal_bytes
from apps.dialects.common.scrub import failure_message
from apps.dialects.openai_responses.usage import read_response_usage
from apps.dialects.protocol import Reply, State
from apps.dialects.said import Said

BILLABLE: Final = frozenset({"completed", "incomplete"})
"""An incomplete reply was generated, and the provider charges for it."""

_TAG: Final = re.compile(rb'"[0-9a-f]{32}:')
_ITEM_TEXTS: Final = ("name", "arguments", "input")
_PART_TEXTS: Final = ("text", "refusal")


def read_reply(body: bytes) -> Reply:
    """Raises: ValueError, where the body is no response and no error."""
    reply = open_reply(body)
    status = str(reply.get("status") or "completed")
    if reply.get("error") or status not in BILLABLE:
        error = reply.get("error") or f"The upstream ended the response with status {status}."
        return Reply(usage=None, failure=failure_message(error))
    output = reply.get("output")
    if not isinstance(output, list):
        raise ValueError("no output")
    said = Said()
    for index, item in enumerate(output):
        _hear_item(said, index, item)
    return Reply(usage=read_response_usage(reply), said=said, states=states_of(reply))


def shown_fields(body: bytes | Raw, *, model_id: str | None) -> ReplyFields:
    """A response's top level as its caller knows it: `model` as it was asked for (None leaves the upstream's), the
    cache key without the account that we put before it."""
    fields = open_fields(body)
    if model_id is not None:
        fields["model"] = model_id
    key = fields.get("prompt_cache_key")
    if isinstance(key, Raw) and (tag := _TAG.match(bytes(key))):
        fields["prompt_cache_key"] = Raw(b'"' + bytes(key)[tag.end() :])
    return fields


def states_of(reply: Mapping[str, Any]) -> tuple[State, ...]:
    """What the provider keeps of this reply: itself and its items, unless it says that it keeps nothing."""
    id_ = reply.get("id")
    if reply.get("store") is False or not isinstance(id_, str):
        return ()
    items = [item.get("id") for item in members(reply, "output") if isinstance(item, dict)]
    return (State("response", id_), *(State("item", item) for item in items if isinstance(item, str)))


def _hear_item(said: Said, index: int, item: object) -> None:
    """Keep what one output item says: text, calls, reasoning. What came encrypted too is measured by that: it is all of
    the reasoning, where the summary that is shown is some of it."""
    hear_texts(said, index, item, _ITEM_TEXTS)
    for position, part in enumerate(members(item, "content")):
        hear_texts(said, (index, position), part, _PART_TEXTS)
    if hear_sealed(said, item):
        return
    for position, part in enumerate(members(item, "summary")):
        hear_texts(said, (index, "summary", position), part, _PART_TEXTS)


def hear_sealed(said: Said, item: object) -> bool:
    """Measure an item's encrypted reasoning; return whether it has any."""
    size = seal_bytes(item.get("encrypted_content")) if isinstance(item, dict) else 0
    said.seal(size)
    return size > 0
