"""Take out of a request what no provider of this protocol takes back: reasoning that others made, or that is stale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import msgspec
from msgspec import Raw

from apps.dialects.common.json_body import UNREADABLE, first_byte
from apps.dialects.hub.reasoning import MARK, unwrap
from apps.dialects.openai_responses import items
from apps.dialects.protocol import Request

_MARKS: Final = (MARK, items.OUR_THOUGHT.encode())
"""One of these stands in every foreign item: a body without them, as nearly all are, is not read again."""


class _Item(msgspec.Struct):
    type: str | None = None
    id: str | None = None
    encrypted_content: str | None = None


_ITEM: Final = msgspec.json.Decoder(_Item)


def without_foreign(request: Request) -> Request:
    """See `Dialect.without_foreign`. An id of ours without anything sealed names nothing that a provider knows."""
    raw = request.fields["input"]
    if not any(mark in bytes(raw) for mark in _MARKS):
        return request
    return _without(request, _is_foreign)


def without_reasoning(request: Request) -> Request:
    """See `Dialect.without_reasoning`."""
    return _without(request, lambda item: True)


def _without(request: Request, is_left_out: Callable[[_Item], bool]) -> Request:
    raw = request.fields["input"]
    if first_byte(raw) != b"[":
        return request
    kept: list[Raw] = []
    left_out: list[str] = []
    for index, item in enumerate(items.ITEMS.decode(raw)):
        thought = _thought(item)
        if thought is not None and is_left_out(thought):
            left_out.append(f"input[{index}] reasoning: left out")
        else:
            kept.append(item)
    if not left_out:
        return request
    fields = {**request.fields, "input": Raw(msgspec.json.encode(kept))}
    return replace(request, fields=fields, adapted=(*request.adapted, *left_out))


def _thought(raw: Raw) -> _Item | None:
    try:
        item = _ITEM.decode(raw)
    except UNREADABLE:
        return None
    return item if item.type == "reasoning" else None


def _is_foreign(item: _Item) -> bool:
    if item.encrypted_content:
        return unwrap(item.encrypted_content) is not None
    return (item.id or "").startswith(items.OUR_THOUGHT)
