"""Read a Responses request, and write the body that goes upstream."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from apps.dialects.common.items import Tally, pick, read_parts, string_bytes
from apps.dialects.common.json_body import (
    NULL,
    Fields,
    first_byte,
    given,
    is_null,
    open_body,
    read,
    read_cache_key,
    read_count,
    read_flag,
    read_list,
    read_model,
    read_text,
)
from apps.dialects.common.known import unknown_tools
from apps.dialects.common.refused import (
    EVERYWHERE,
    Refusal,
    Table,
    ToolHead,
    Why,
    but_for,
    check_fields,
    read_tools,
    refuse,
    refuse_tool,
)
from apps.dialects.common.upstream import lowered, namespaced, start_body
from apps.dialects.protocol import InvalidRequest, Request, State, UnknownState

REFUSED: Final[Table] = {
    **EVERYWHERE,
    **but_for("max_output_tokens"),
    "service_tier": Refusal(Why.PRICE, allowed=("auto", "default", "standard"), is_priceable=True),
    "speed": Refusal(Why.PRICE, allowed=("standard",), is_priceable=True),
    "inference_geo": Refusal(Why.PRICE, allowed=("global",), is_priceable=True),
    "prompt": Refusal(Why.STATE),
}

MAX_ID_CHARS: Final = 200
MAX_REFERENCES: Final = 200

SEARCH_TOOL: Final = "web_search"
# `function`, `custom`, `namespace`, `local_shell`, `apply_patch` and tool search run at the caller or cost tokens only.
HOSTED_TOOLS: Final = (
    "file_search",
    "code_interpreter",
    "code_execution",
    "computer",
    "image_generation",
    "mcp",
    "shell",
    "x_search",
    "collections_search",
    "openrouter:",
)

UNPRICED_PARTS: Final = frozenset({"input_video", "audio", "video"})
_ITEM_PARTS: Final = frozenset({"input_image", "input_file", "input_audio", "computer_screenshot"})


class _Item(msgspec.Struct):
    """As much of an input item as shows what it holds."""

    type: str | None = None
    role: str | None = None
    id: str | None = None
    content: Raw = NULL
    output: Raw = NULL
    tools: Raw = NULL
    result: Raw = NULL


class _ItemPart(msgspec.Struct):
    file_id: Raw = NULL
    image_url: Raw = NULL
    file_data: Raw = NULL
    file_url: Raw = NULL


class _Choice(ToolHead):
    tools: list[ToolHead] | None = None


_INPUT: Final = msgspec.json.Decoder(list[_Item])
_CHOICE: Final = msgspec.json.Decoder(_Choice)
_ITEM_PART: Final = msgspec.json.Decoder(_ItemPart)


def parse(body: bytes, *, table: Table = REFUSED) -> Request:
    fields = open_body(body)
    modifiers = check_fields(fields, table)
    model_id = read_model(fields)
    tally = Tally()
    states = _previous(fields) + _check_input(fields, tally)
    adapted, unknown = _check_tools(fields)
    return Request(
        model_id=model_id,
        fields=fields,
        modifiers=modifiers,
        unknown_tools=unknown,
        demand=tally.demand(len(body)),
        is_stream=read_flag(fields, "stream"),
        max_tokens=read_count(fields, "max_output_tokens"),
        states=states,
        wants_storing=read_flag(fields, "store"),
        cache_key=read_cache_key(fields),
        adapted=adapted,
    )


def upstream_body(request: Request, *, upstream_model: str, max_tokens: int | None, account_tag: str) -> bytes:
    """See `Dialect.upstream_body`. `store` is always sent: this API stores replies unless it is told not to."""
    fields = start_body(request, upstream_model=upstream_model)
    fields["store"] = request.wants_storing
    if max_tokens is not None:
        fields["max_output_tokens"] = lowered(request.fields, "max_output_tokens", max_tokens)
    if request.cache_key is not None:
        fields["prompt_cache_key"] = namespaced(request.cache_key, account_tag)
    return msgspec.json.encode(fields)


def _previous(fields: Fields) -> tuple[State, ...]:
    name = "previous_response_id"
    id_ = read_text(fields, name)
    return (State("response", _checked(id_, name), name),) if id_ else ()


def _checked(id_: str | None, field: str) -> str:
    """Raises: UnknownState, for what is no id of anything."""
    if not id_ or len(id_) > MAX_ID_CHARS or not id_.isprintable():
        raise UnknownState(field)
    return id_


def _check_input(fields: Fields, tally: Tally) -> tuple[State, ...]:
    """Tally the input's items; return those that it only refers to."""
    raw = given(fields, "input")
    if raw is None and given(fields, "messages") is not None:
        raise InvalidRequest(
            "`input` is required; a body with `messages` belongs to the Chat API: send it to /chat/completions.",
            param="input",
        )
    if raw is None or first_byte(raw) not in (b'"', b"["):
        raise InvalidRequest("`input` must be a string or a list of items.", param="input")
    if first_byte(raw) == b'"':
        return ()
    items = read_list(_INPUT, raw, "input")
    if not items:
        raise InvalidRequest("`input` must not be empty.", param="input")
    states = []
    for index, item in enumerate(items):
        field = f"input[{index}]"
        if item.type == "item_reference" or (item.type is None and item.role is None):
            states.append(State("item", _checked(item.id, f"{field}.id"), f"{field}.id"))
        else:
            _check_item(item, field, tally)
    if len(states) > MAX_REFERENCES:
        raise InvalidRequest(f"`input` refers to more than {MAX_REFERENCES} items.", param="input")
    return tuple(states)


def _check_item(item: _Item, field: str, tally: Tally) -> None:
    if first_byte(item.content) == b"[":
        _check_parts(item.content, f"{field}.content", tally)
    if first_byte(item.output) == b"[":
        _check_parts(item.output, f"{field}.output", tally)
    elif first_byte(item.output) == b"{" and item.type == "computer_call_output":
        _check_part("computer_screenshot", item.output, f"{field}.output", tally)
    if item.type == "image_generation_call" and first_byte(item.result) == b'"':
        tally.add_image(string_bytes(item.result))
    if first_byte(item.tools) == b"[":
        for index, tool in enumerate(read_tools(item.tools, f"{field}.tools")):
            if _is_hosted(tool) or _is_search(tool):
                raise refuse_tool(f"{field}.tools", index)


def _check_parts(raw: Raw, field: str, tally: Tally) -> None:
    parts = read_parts(raw, field)
    items = []
    for index, part in enumerate(parts):
        if part.type in UNPRICED_PARTS:
            raise refuse(f"{field}[{index}].type", Why.UNPRICED_KIND)
        if part.type in _ITEM_PARTS:
            items.append(index)
    if not items:
        return
    for index, item in pick(raw, items, field):
        _check_part(parts[index].type, item, f"{field}[{index}]", tally)


def _check_part(kind: str | None, raw: Raw, field: str, tally: Tally) -> None:
    if kind == "input_audio":
        tally.add_audio(raw, field)
        return
    part = read(_ITEM_PART, raw, field, "an object")
    if not is_null(part.file_id):
        raise UnknownState(f"{field}.file_id")
    if kind != "input_file":
        tally.add_image_url(part.image_url, f"{field}.image_url")
    elif not is_null(part.file_url):
        raise refuse(f"{field}.file_url", Why.UNPRICED_INPUT)
    else:
        tally.add_data_url(part.file_data, f"{field}.file_data")


def _is_hosted(tool: ToolHead) -> bool:
    return tool.type is not None and tool.type.startswith(HOSTED_TOOLS)


def _is_search(tool: ToolHead) -> bool:
    return tool.type is not None and tool.type.startswith(SEARCH_TOOL)


def _check_tools(fields: Fields) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Refuse hosted tools; leave web search out where it is one offer among tools of the caller's own. Return what was
    left out, and the kinds of tools that nobody knew yet.

    Coding agents offer it with every call and do without it. Alone, or demanded by `tool_choice`, it is refused.
    """
    raw = given(fields, "tools")
    if raw is None:
        return (), ()
    tools = read_tools(raw, "tools")
    searches = []
    for index, tool in enumerate(tools):
        if _is_hosted(tool):
            raise refuse_tool("tools", index)
        if _is_search(tool):
            searches.append(index)
    unknown = unknown_tools(tool.type for tool in tools)
    if not searches:
        return (), unknown
    if len(searches) == len(tools):
        raise refuse_tool("tools", searches[0])
    if _demands_search(fields):
        raise refuse("tool_choice", Why.UNPRICED_TOOL)
    kept = [tool for _, tool in pick(raw, set(range(len(tools))).difference(searches), "tools")]
    fields["tools"] = Raw(msgspec.json.encode(kept))
    return tuple(f"tools[{index}] {tools[index].type}: left out" for index in searches), unknown


def _demands_search(fields: Fields) -> bool:
    """`{"type": "web_search"}`, or an `allowed_tools` choice that lists it."""
    raw = given(fields, "tool_choice")
    if raw is None or first_byte(raw) != b"{":
        return False
    choice = read(_CHOICE, raw, "tool_choice", "a string or an object with a `type`")
    return any(_is_search(tool) for tool in (choice, *(choice.tools or ())))
