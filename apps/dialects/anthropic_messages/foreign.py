"""Take out of a request what Anthropic does not take back: thinking that others did, or that it no longer knows.

A caller that was answered by a model of another family sends its thinking back in blocks like Anthropic's own. Sent on
to Anthropic, one of them is a 400 for the whole conversation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import msgspec
from msgspec import Raw

from apps.dialects.common.json_body import NULL, Fields, first_byte, nested, read_text
from apps.dialects.hub.reasoning import unwrap
from apps.dialects.protocol import Request

_SIGN: Final = b'"hypereal.'
"""Stands in every such block: a body without it, as nearly all are, is not read again."""

_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking"})


class _Message(msgspec.Struct):
    content: Raw = NULL


class _Block(msgspec.Struct):
    type: str = ""
    signature: str = ""
    data: str = ""


class _Kind(msgspec.Struct):
    type: str | None = None


_RAW_LIST: Final = msgspec.json.Decoder(list[Raw])
_MESSAGE: Final = msgspec.json.Decoder(_Message)
_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])
_BLOCK: Final = msgspec.json.Decoder(_Block)
_KIND: Final = msgspec.json.Decoder(_Kind)


@dataclass(frozen=True, slots=True)
class _Kept:
    message: Raw | None
    """None where nothing is left of it."""
    lost: int = 0
    begins_with: str | None = None
    """The kind of its first block that is left."""


def without_foreign(request: Request) -> Request:
    """See `Dialect.without_foreign`."""
    return _without(request, _is_foreign) if _SIGN in bytes(request.fields["messages"]) else request


def without_reasoning(request: Request) -> Request:
    """See `Dialect.without_reasoning`."""
    return _without(request, lambda block: True)


def _without(request: Request, is_left_out: Callable[[_Block], bool]) -> Request:
    kept = [_shortened(message, is_left_out) for message in _RAW_LIST.decode(request.fields["messages"])]
    left_out = [f"messages[{index}] reasoning: left out" for index, message in enumerate(kept) if message.lost]
    if not left_out:
        return request
    messages = [message.message for message in kept if message.message is not None]
    fields = {**request.fields, "messages": Raw(msgspec.json.encode(messages))}
    if _is_unsigned(fields, kept):
        del fields["thinking"]
        left_out.append("thinking: left out")
    return replace(request, fields=fields, adapted=(*request.adapted, *left_out))


def _shortened(message: Raw, is_left_out: Callable[[_Block], bool]) -> _Kept:
    content = _MESSAGE.decode(message).content
    if first_byte(content) != b"[":
        return _Kept(message)
    blocks = _RAW_LIST.decode(content)
    own = [block for block in blocks if not ((thought := _thought(block)) and is_left_out(thought))]
    begins_with = _KIND.decode(own[0]).type if own else None
    lost = len(blocks) - len(own)
    if not lost:
        return _Kept(message, begins_with=begins_with)
    if not own:
        return _Kept(None, lost)
    rest = Raw(msgspec.json.encode(own))
    return _Kept(Raw(msgspec.json.encode({**_FIELDS.decode(message), "content": rest})), lost, begins_with)


def _thought(raw: Raw) -> _Block | None:
    try:
        block = _BLOCK.decode(raw)
    except ValueError:
        return None  # Not a block of thinking: those have strings there.
    return block if block.type in _THOUGHTS else None


def _is_foreign(block: _Block) -> bool:
    return unwrap(block.signature or block.data) is not None


def _is_unsigned(fields: Fields, kept: list[_Kept]) -> bool:
    """Whether thinking within a budget is asked for in the middle of a tool's turn whose thinking is gone: that, too,
    is refused."""
    if len(kept) < 2 or read_text(nested(fields, "thinking"), "type") != "enabled":
        return False
    before, last = kept[-2], kept[-1]
    return last.begins_with == "tool_result" and bool(before.lost) and before.begins_with == "tool_use"
