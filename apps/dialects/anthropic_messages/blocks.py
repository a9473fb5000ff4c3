"""Content blocks of Messages requests as parts of the hub's turns."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.dialects.anthropic_messages.marks import Mark, read_mark
from apps.dialects.anthropic_messages.sealed import read_redacted, read_signature
from apps.dialects.common.json_body import NULL, first_byte, is_null, read, read_list
from apps.dialects.hub.conversation import CacheMark, Document, Image, Part, Text, Thinking, ToolCall, ToolResult, Turn
from apps.dialects.protocol import InvalidRequest

BROKEN_JSON: Final = "INVALID_JSON"
"""Where `input` must be an object, arguments that are none stand in this member: Anthropic's own convention."""


class _Source(msgspec.Struct):
    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""
    content: Raw = NULL


class _Block(msgspec.Struct):
    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: Raw = NULL
    tool_use_id: str = ""
    content: Raw = NULL
    is_error: bool | None = None
    source: _Source | str | None = None
    title: str | None = None
    context: str | None = None
    citations: Any = None
    cache_control: Mark | None = None


class _Message(msgspec.Struct):
    role: str
    content: Raw = NULL


class _Broken(msgspec.Struct, forbid_unknown_fields=True):
    text: str = msgspec.field(name=BROKEN_JSON)


_MESSAGES: Final = msgspec.json.Decoder(list[_Message])
_BLOCKS: Final = msgspec.json.Decoder(list[_Block])
_TEXT: Final = msgspec.json.Decoder(str)
_BROKEN: Final = msgspec.json.Decoder(_Broken)


def read_turns(messages: Raw, system: Raw, unread: list[str]) -> list[Turn]:
    """System prompt and messages. Blocks that only this protocol knows are left out whole, and named in `unread`.

    Raises: InvalidRequest.
    """
    turns = []
    if not is_null(system):
        turns.append(Turn("system", _read_content(system, "system", unread), "system"))
    for index, message in enumerate(read_list(_MESSAGES, messages, "messages")):
        role, field = message.role, f"messages[{index}]"
        match role:
            case "user" | "assistant" | "system":
                turns.append(Turn(role, _read_content(message.content, f"{field}.content", unread), field))
            case _:
                raise InvalidRequest(f"`{field}.role` must be user, assistant or system.", param=f"{field}.role")
    return turns


def _read_content(raw: Raw, field: str, unread: list[str]) -> list[Part]:
    if is_null(raw):
        return []
    if first_byte(raw) == b'"':
        return [Text(read(_TEXT, raw, field, "a string or a list of blocks"))]
    parts: list[Part] = []
    for index, block in enumerate(read_list(_BLOCKS, raw, field)):
        found = _read_block(block, f"{field}[{index}]", unread)
        if found is None:
            unread.append(f"{field}[{index}] {block.type}")
        else:
            parts += found
    return parts


def _read_block(block: _Block, field: str, unread: list[str]) -> list[Part] | None:
    """The parts that say the same; None where no part can."""
    mark = read_mark(block.cache_control)
    match block.type:
        case "text":
            citations = block.citations if isinstance(block.citations, list) else None
            return [Text(block.text, mark, citations)]
        case "thinking":
            return [Thinking(block.thinking, read_signature(block.signature))]
        case "redacted_thinking":
            return [Thinking(seal=read_redacted(block.data))]
        case "tool_use":
            return [ToolCall(block.id, block.name, _arguments(block.input), cache=mark)]
        case "tool_result":
            return [_read_result(block, field, mark, unread)]
        case "image":
            return [_read_image(block, field, mark)]
        case "document":
            return _read_document(block, field, mark, unread)
        case "search_result":
            text = _joined(_read_content(block.content, f"{field}.content", unread))
            source = block.source if isinstance(block.source, str) else ""
            return [Document(text=text, name=block.title or "", context=source, cache=mark)]
    return None


def _arguments(raw: Raw) -> str:
    """The call's JSON as it stands in the body."""
    if is_null(raw):
        return ""
    text = bytes(raw).decode()
    if BROKEN_JSON in text:
        try:
            return _BROKEN.decode(raw).text
        except ValueError:
            pass  # An object of the model's own that happens to contain the word.
    return text


def _read_result(block: _Block, field: str, mark: CacheMark | None, unread: list[str]) -> ToolResult:
    if not block.tool_use_id:
        raise InvalidRequest(f"`{field}.tool_use_id` must be a string.", param=f"{field}.tool_use_id")
    content = _read_content(block.content, f"{field}.content", unread)
    parts = [part for part in content if isinstance(part, Text | Image | Document)]
    return ToolResult(block.tool_use_id, parts, is_error=bool(block.is_error), cache=mark)


def _read_image(block: _Block, field: str, mark: CacheMark | None) -> Image:
    source = _source(block, field)
    if source.type == "url":
        return Image(url=source.url, cache=mark)
    return Image(source.media_type.strip().lower(), source.data, cache=mark)


def _read_document(block: _Block, field: str, mark: CacheMark | None, unread: list[str]) -> list[Part]:
    source = _source(block, field)
    document = Document(
        name=block.title or "",
        context=block.context or "",
        wants_citations=isinstance(block.citations, dict) and bool(block.citations.get("enabled")),
        cache=mark,
    )
    if source.type == "content":
        parts = _read_content(source.content, f"{field}.source.content", unread)
        document.text = _joined(parts)
        return [document, *(part for part in parts if isinstance(part, Image))]
    if source.type == "text":
        document.text = source.data
    elif source.type == "url":
        document.url = source.url
    else:
        document.media_type = source.media_type.strip().lower()
        document.data = source.data
    return [document]


def _source(block: _Block, field: str) -> _Source:
    if not isinstance(block.source, _Source):
        raise InvalidRequest(f"`{field}.source` must be an object.", param=f"{field}.source")
    return block.source


def _joined(parts: list[Part]) -> str:
    return "\n".join(part.text for part in parts if isinstance(part, Text))
