"""Read a Messages request, and write the body that goes upstream."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from apps.core.errors import GatewayError
from apps.dialects.anthropic_messages.marks import mark_unmarked
from apps.dialects.common import caching
from apps.dialects.common.items import Tally, pick, read_parts, string_bytes
from apps.dialects.common.json_body import (
    NULL,
    Fields,
    first_byte,
    given,
    nested,
    open_body,
    read,
    read_count,
    read_flag,
    read_list,
    read_model,
)
from apps.dialects.common.known import unknown_tools
from apps.dialects.common.refused import (
    EVERYWHERE,
    Refusal,
    Table,
    Why,
    but_for,
    check_fields,
    read_tools,
    refuse,
    refuse_tool,
)
from apps.dialects.common.upstream import lowered, start_body
from apps.dialects.protocol import InvalidRequest, Request, UnknownState, UnsupportedField

MAX_NESTING: Final = 4
"""An image in a document in a tool result is two levels down; each level is read once more."""
MAX_SEARCHES: Final = 20
"""Largest `max_uses` of web search that one call may ask for."""

REFUSED: Final[Table] = {
    **EVERYWHERE,
    **but_for("max_tokens"),
    "service_tier": Refusal(Why.PRICE, allowed=("auto", "default", "standard_only", "standard"), is_priceable=True),
    "speed": Refusal(Why.PRICE, allowed=("standard",), is_priceable=True),
    "inference_geo": Refusal(Why.PRICE, allowed=("global",), is_priceable=True),
    "previous_response_id": Refusal(Why.STATE),
}

# The caller runs bash_*, text_editor_*, computer_*, memory_* itself; tool search costs nothing but its tokens.
SEARCH_TOOL: Final = "web_search_"
HOSTED_TOOLS: Final = ("web_fetch_", "code_execution_", "advisor_", "mcp_toolset")
UNPRICED_EDITS: Final = "compact_"
"""Context edits that call a model of their own, whose tokens stand outside the reply's usage."""

_ITEMS: Final = frozenset({"image", "document"})
_NESTED: Final = frozenset({"tool_result", "mcp_tool_result"})
UNPRICED_BLOCKS: Final = {
    "container_upload": Why.STATE,
    "file": Why.STATE,
    "audio": Why.UNPRICED_KIND,
    "video": Why.UNPRICED_KIND,
}


class _Message(msgspec.Struct):
    content: Raw = NULL


class _Source(msgspec.Struct):
    type: str
    media_type: str = ""
    data: Raw = NULL
    url: Raw = NULL
    content: Raw = NULL


class _Item(msgspec.Struct):
    source: _Source


class _Edit(msgspec.Struct):
    type: str = ""


class _ContextManagement(msgspec.Struct):
    edits: list[_Edit] | None = None


_MESSAGES: Final = msgspec.json.Decoder(list[_Message])
_ITEM: Final = msgspec.json.Decoder(_Item)
_CONTEXT_MANAGEMENT: Final = msgspec.json.Decoder(_ContextManagement)


def parse(body: bytes) -> Request:
    fields = open_body(body)
    modifiers = check_fields(fields, REFUSED)
    model_id = read_model(fields)
    max_tokens = read_count(fields, "max_tokens")
    if max_tokens is None:
        raise InvalidRequest("`max_tokens` is required.", param="max_tokens")
    tally = Tally()
    _check_messages(fields, tally)
    _check_edits(fields)
    searches, unknown = _check_tools(fields)
    return Request(
        model_id=model_id,
        fields=fields,
        modifiers=modifiers,
        unknown_tools=unknown,
        demand=tally.demand(len(body), server_tool_uses=searches),
        is_stream=read_flag(fields, "stream"),
        max_tokens=max_tokens,
        thinking_budget=read_count(
            nested(fields, "thinking"), "budget_tokens", least=0, label="thinking.budget_tokens"
        ),
    )


def parse_count(body: bytes) -> Request:
    """A request to `count_tokens`: like one for an answer, less its maximum; no tool of it will run.

    Raises: InvalidRequest, UnsupportedField.
    """
    fields = open_body(body)
    check_fields(fields, REFUSED)
    model_id = read_model(fields)
    tally = Tally()
    _check_messages(fields, tally)
    return Request(model_id=model_id, fields=fields, demand=tally.demand(len(body)))


def upstream_body(request: Request, *, upstream_model: str, max_tokens: int | None) -> bytes:
    """See `Dialect.upstream_body`. This dialect always reports usage and has no cache keys."""
    fields = start_body(request, upstream_model=upstream_model)
    if max_tokens is not None:
        fields["max_tokens"] = lowered(request.fields, "max_tokens", max_tokens)
    if caching.needs_mark(request):
        mark_unmarked(fields)
    return msgspec.json.encode(fields)


def _check_messages(fields: Fields, tally: Tally) -> None:
    raw = given(fields, "messages")
    if raw is None or first_byte(raw) != b"[":
        raise InvalidRequest("`messages` must be a list of messages.", param="messages")
    messages = read_list(_MESSAGES, raw, "messages")
    if not messages:
        raise InvalidRequest("`messages` must not be empty.", param="messages")
    for index, message in enumerate(messages):
        _check_content(message.content, f"messages[{index}].content", tally)
    system = given(fields, "system")
    if system is not None:
        if first_byte(system) not in (b'"', b"["):
            raise InvalidRequest("`system` must be a string or a list of text blocks.", param="system")
        _check_content(system, "system", tally)


def _check_content(raw: Raw, field: str, tally: Tally, depth: int = 0) -> None:
    """Count the items of one content array, down through tool results and documents."""
    if depth > MAX_NESTING:
        raise InvalidRequest("`messages` is nested too deeply.", param="messages")
    items = []
    blocks = read_parts(raw, field)
    for index, block in enumerate(blocks):
        if block.type in _ITEMS:
            items.append(index)
        elif block.type in _NESTED:
            _check_content(block.content, f"{field}[{index}].content", tally, depth + 1)
        elif block.type in UNPRICED_BLOCKS:
            name = "file_id" if UNPRICED_BLOCKS[block.type] is Why.STATE else "type"
            raise refuse(f"{field}[{index}].{name}", UNPRICED_BLOCKS[block.type])
    if not items:
        return
    for index, item in pick(raw, items, field):
        where = f"{field}[{index}].source"
        source = read(_ITEM, item, f"{field}[{index}]", "a block with a `source` that has a `type`").source
        if blocks[index].type == "image":
            _count_image(source, where, tally)
        else:
            _count_document(source, where, tally, depth)


def _count_image(source: _Source, field: str, tally: Tally) -> None:
    if source.type == "base64":
        tally.add_image(string_bytes(source.data))
    elif source.type == "url":
        tally.add_image_url(source.url, f"{field}.url")
    else:
        raise _no_source(source, field)


def _count_document(source: _Source, field: str, tally: Tally, depth: int) -> None:
    if source.type == "base64":
        tally.add_document(source.media_type.strip().lower(), string_bytes(source.data), f"{field}.media_type")
    elif source.type == "content":
        _check_content(source.content, f"{field}.content", tally, depth + 1)
    elif source.type != "text":
        raise _no_source(source, field)


def _no_source(source: _Source, field: str) -> GatewayError:
    """Files of the provider's are nobody's here; what else the body does not contain has no price."""
    return UnknownState(f"{field}.file_id") if source.type == "file" else refuse(f"{field}.type", Why.UNPRICED_INPUT)


def _check_tools(fields: Fields) -> tuple[int, tuple[str, ...]]:
    """Most web searches that the offered tools may make together, and the kinds of tools that nobody knew yet."""
    raw = given(fields, "tools")
    if raw is None:
        return 0, ()
    searches = 0
    tools = read_tools(raw, "tools")
    for index, tool in enumerate(tools):
        if tool.type is None:
            continue
        if tool.type.startswith(SEARCH_TOOL):
            name = f"tools[{index}].max_uses"
            uses = read_count({"max_uses": tool.max_uses}, "max_uses", most=MAX_SEARCHES, label=name)
            if uses is None:
                raise UnsupportedField(
                    f"`{name}` is required here, from 1 to {MAX_SEARCHES}: each search has its price.", param=name
                )
            searches += uses
        elif tool.type.startswith(HOSTED_TOOLS):
            raise refuse_tool("tools", index)
    return searches, unknown_tools(tool.type for tool in tools)


def _check_edits(fields: Fields) -> None:
    raw = given(fields, "context_management")
    if raw is None:
        return
    management = read(_CONTEXT_MANAGEMENT, raw, "context_management", "an object with a list of `edits`")
    for index, edit in enumerate(management.edits or ()):
        if edit.type.startswith(UNPRICED_EDITS):
            raise refuse(f"context_management.edits[{index}].type", Why.PRICE)
