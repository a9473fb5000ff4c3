"""Take out of a request what no provider of this protocol takes back: reasoning that others made."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec
from msgspec import Raw

from apps.dialects.common.json_body import UNREADABLE, first_byte
from apps.dialects.hub.reasoning import unwrap
from apps.dialects.openai_responses import items
from apps.dialects.protocol import Request

_MARKS: Final = (b"hypereal.", items.OUR_THOUGHT.encode())
"""One of these stands in every such item: a body without them, as nearly all are, is not read again."""


class _Thought(msgspec.Struct):
    type: str | None = None
    id: str | None = None
    encrypted_content: str | None = None


_THOUGHT: Final = msgspec.json.Decoder(_Thought)


def without_foreign(request: Request) -> Request:
    """See `Dialect.without_foreign`. An id of ours without anything sealed names nothing that a provider knows."""
    raw = request.fields["input"]
    if first_byte(raw) != b"[" or not any(mark in bytes(raw) for mark in _MARKS):
        return request
    kept: list[Raw] = []
    left_out: list[str] = []
    for index, item in enumerate(items.ITEMS.decode(raw)):
        if is_foreign(item):
            left_out.append(f"input[{index}] reasoning: left out")
        else:
            kept.append(item)
    if not left_out:
        return request
    fields = {**request.fields, "input": Raw(msgspec.json.encode(kept))}
    return replace(request, fields=fields, adapted=(*request.adapted, *left_out))


def is_foreign(item: Raw) -> bool:
    try:
        thought = _THOUGHT.decode(item)
    except UNREADABLE:
        return False
    if thought.type != "reasoning":
        return False
    if thought.encrypted_content:
        return unwrap(thought.encrypted_content) is not None
    return (thought.id or "").startswith(items.OUR_THOUGHT)
