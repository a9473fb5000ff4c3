"""Prompt-cache breakpoints as Messages says them: both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.dialects.common.json_body import UNREADABLE, first_byte
from apps.dialects.common.upstream import BodyFields
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


class _Text(msgspec.Struct):
    text: str = ""


_TEXT: Final = msgspec.json.Decoder(_Text)
_RAW_LIST: Final = msgspec.json.Decoder(list[Raw])
_BLOCK: Final = msgspec.json.Decoder(dict[str, Raw])


def read_mark(mark: Mark | None) -> CacheMark | None:
    return None if mark is None else CacheMark(mark.ttl if mark.ttl in _TTLS else "")


def write_mark(mark: CacheMark) -> dict[str, str]:
    return {"type": "ephemeral", "ttl": mark.ttl} if mark.ttl in _TTLS else {"type": "ephemeral"}


def place_marks(
    conversation: Conversation, *, tools: list[Block], system: list[Block], messages: list[dict[str, Any]]
) -> None:
    """Set the marks that the caller asked for as a whole, and take away what is more than the protocol allows.

    `conversation.cache` marks the end of the last message; where the caller set no marks of its own, also the ends of
    what stays the same from call to call: the tools, which other prompts may share, and the system prompt.
    """
    wanted = conversation.cache
    blocks = [*tools, *system, *(block for message in messages for block in message["content"])]
    if wanted is not None:
        if not any("cache_control" in block for block in blocks):
            _mark_last(tools, wanted)
            _mark_last(system, wanted)
        last = messages[-1]["content"] if messages else []
        _mark_last([block for block in last if block["type"] in _MARKABLE], wanted)
    marked = [block for block in blocks if "cache_control" in block]
    # The first stands behind what never changes, the last ones behind what the next call will repeat.
    for block in marked[1 : len(marked) - MAX_MARKS + 1]:
        del block["cache_control"]
    if len(marked) > MAX_MARKS:
        note(conversation, f"{conversation.name_of('cache')}: {len(marked)} -> {MAX_MARKS} marks")
    _order([block for block in blocks if "cache_control" in block])


def mark_unmarked(fields: BodyFields) -> None:
    """Mark a caller's own body, which has no mark anywhere, in the same three places. The one on the whole request
    stands behind the last block that can be cached."""
    fields["cache_control"] = {"type": "ephemeral"}
    tools, system = fields.get("tools"), fields.get("system")
    if isinstance(tools, Raw) and first_byte(tools) == b"[":
        fields["tools"] = _marked(_RAW_LIST.decode(tools), lambda tool: b'"defer_loading"' not in bytes(tool))
    if isinstance(system, Raw) and first_byte(system) == b'"' and len(system) > len('""'):
        fields["system"] = [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}]
    elif isinstance(system, Raw) and first_byte(system) == b"[":
        fields["system"] = _marked(_RAW_LIST.decode(system), _has_text)


def _marked(blocks: list[Raw], may_carry: Callable[[Raw], bool]) -> list[object]:
    """The blocks, the last one that may carry a mark with one; the bytes of all others as they were."""
    marked: list[object] = [*blocks]
    for index in range(len(blocks) - 1, -1, -1):
        if may_carry(blocks[index]):
            marked[index] = {**_BLOCK.decode(blocks[index]), "cache_control": {"type": "ephemeral"}}
            break
    return marked


def _has_text(block: Raw) -> bool:
    """An empty text carries no mark. What is no text at all, the upstream shall refuse as it came."""
    try:
        return _TEXT.decode(block).text != ""
    except UNREADABLE:
        return False


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
