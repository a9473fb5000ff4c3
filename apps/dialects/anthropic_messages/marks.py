"""Prompt-cache breakpoints as Messages says them: both ways."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from apps.dialects.hub.abilities import note
from apps.dialects.hub.conversation import CacheMark, Conversation

MAX_MARKS: Final = 4
"""The protocol refuses more."""
LONG: Final = "1h"
_TTLS: Final = ("5m", LONG)
_MARKABLE: Final = frozenset({"text", "image", "document", "tool_use", "tool_result"})

Block = dict[str, Any]


class Mark(msgspec.Struct):
    ttl: str | None = None


def read_mark(mark: Mark | None) -> CacheMark | None:
    return None if mark is None else CacheMark(mark.ttl if mark.ttl in _TTLS else "")


def write_mark(mark: CacheMark) -> dict[str, str]:
    return {"type": "ephemeral", "ttl": mark.ttl} if mark.ttl in _TTLS else {"type": "ephemeral"}


def place_marks(
    conversation: Conversation, *, tools: list[Block], system: list[Block], messages: list[dict[str, Any]]
) -> None:
    """Set the marks that the caller asked for as a whole, and take away what is more than the protocol allows.

    `conversation.cache` marks the end of the last message; where the caller set no marks of its own, also the end of
    what stays the same from call to call: the system prompt, or the tools where there is none.
    """
    wanted = conversation.cache
    blocks = [*tools, *system, *(block for message in messages for block in message["content"])]
    if wanted is not None:
        if not any("cache_control" in block for block in blocks):
            _mark_last(system or tools, wanted)
        last = messages[-1]["content"] if messages else []
        _mark_last([block for block in last if block["type"] in _MARKABLE], wanted)
    marked = [block for block in blocks if "cache_control" in block]
    # The first stands behind what never changes, the last ones behind what the next call will repeat.
    for block in marked[1 : len(marked) - MAX_MARKS + 1]:
        del block["cache_control"]
    if len(marked) > MAX_MARKS:
        note(conversation, f"{conversation.name_of('cache')}: {len(marked)} -> {MAX_MARKS} marks")
    _order([block for block in blocks if "cache_control" in block])


def _mark_last(blocks: list[Block], mark: CacheMark) -> None:
    if blocks and "cache_control" not in blocks[-1]:
        blocks[-1]["cache_control"] = write_mark(mark)


def _order(marked: list[Block]) -> None:
    """Longer lifetimes must stand before shorter ones: what follows a shorter one is as short."""
    is_short = False
    for block in marked:
        if block["cache_control"].get("ttl") != LONG:
            is_short = True
        elif is_short:
            block["cache_control"] = {"type": "ephemeral"}
