"""Client tools, tool choice and structured output as Messages says them: both ways."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.dialects.anthropic_messages.marks import Mark, read_mark, write_mark
from apps.dialects.anthropic_messages.native_tools import native_tool
from apps.dialects.common.json_body import NULL, Fields, given, is_null, nested, read, read_list
from apps.dialects.hub.abilities import note, unsupported
from apps.dialects.hub.conversation import Conversation, OutputFormat, Tool, ToolChoice
from apps.dialects.hub.sent import plain_name, tool_to_send
from apps.dialects.protocol import InvalidRequest

MAX_NAME_CHARS: Final = 128
ANSWER_TOOL: Final = "answer_in_json"
HOSTED: Final = ("web_search_", "tool_search_")
"""Tools of the provider that a caller may have offered: left out where it brings tools of its own too."""
_EXTRAS: Final = ("defer_loading", "allowed_callers", "input_examples", "eager_input_streaming")
_OBJECT: Final = Raw(b'{"type":"object","properties":{}}')


class _Tool(msgspec.Struct):
    name: str
    type: str | None = None
    description: str | None = None
    input_schema: Raw = NULL
    strict: bool | None = None
    cache_control: Mark | None = None
    defer_loading: Any = None
    allowed_callers: Any = None
    input_examples: Any = None
    eager_input_streaming: Any = None


class _Choice(msgspec.Struct):
    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class _Format(msgspec.Struct):
    type: str
    schema: Raw = NULL


_TOOLS: Final = msgspec.json.Decoder(list[_Tool])
_CHOICE: Final = msgspec.json.Decoder(_Choice)
_FORMAT: Final = msgspec.json.Decoder(_Format)
_SCHEMA: Final = msgspec.json.Decoder(dict[str, Raw])


def read_tools(fields: Fields, unread: list[str]) -> list[Tool]:
    """Raises: InvalidRequest; UnsupportedField, for a tool that only this protocol's provider can run or describe."""
    raw = given(fields, "tools")
    offered = [] if raw is None else read_list(_TOOLS, raw, "tools")
    hosted = [index for index, tool in enumerate(offered) if (tool.type or "").startswith(HOSTED)]
    if hosted and len(hosted) == len(offered):
        raise unsupported(f"tools[{hosted[0]}].type")
    unread += [f"tools[{index}] {offered[index].name}" for index in hosted]
    return [_read_tool(tool, f"tools[{index}]", unread) for index, tool in enumerate(offered) if index not in hosted]


def _read_tool(tool: _Tool, field: str, unread: list[str]) -> Tool:
    mark = read_mark(tool.cache_control)
    if tool.type is not None and tool.type != "custom":
        native = native_tool(tool.type)
        if native is None:
            raise unsupported(f"{field}.type")
        return Tool(tool.name, native.description, native.schema, cache=mark)
    unread += [f"{field}.{name}" for name in _EXTRAS if getattr(tool, name) not in (None, False, [])]
    schema = None if is_null(tool.input_schema) else tool.input_schema
    return Tool(tool.name, tool.description, schema, tool.strict, mark)


def read_tool_choice(fields: Fields, tools: list[Tool]) -> tuple[ToolChoice | None, bool | None]:
    """The choice, and whether calls may be parallel (None: nothing said).

    Raises: InvalidRequest; UnsupportedField, where it demands a tool that could not be kept.
    """
    raw = given(fields, "tool_choice")
    if raw is None:
        return None, None
    choice = read(_CHOICE, raw, "tool_choice", "an object with `type`")
    parallel = False if choice.disable_parallel_tool_use else None
    match choice.type:
        case "auto" | "none" as mode:
            return ToolChoice(mode), parallel
        case "any":
            return ToolChoice("required"), parallel
        case "tool":
            if not any(tool.name == choice.name for tool in tools):
                raise unsupported("tool_choice.name")
            return ToolChoice("tool", (choice.name,)), parallel
    raise InvalidRequest("`tool_choice.type` must be auto, any, tool or none.", param="tool_choice.type")


def read_output_format(fields: Fields) -> OutputFormat | None:
    """`output_config.format`, or `output_format` as it was called first.

    Raises: InvalidRequest, UnsupportedField.
    """
    raw = given(nested(fields, "output_config"), "format")
    name = "output_format" if raw is None else "output_config.format"
    if raw is None:
        raw = given(fields, "output_format")
    if raw is None:
        return None
    wanted = read(_FORMAT, raw, name, "an object with `type`")
    if wanted.type != "json_schema" or is_null(wanted.schema):
        raise unsupported(f"{name}.type")
    return OutputFormat("schema", wanted.schema)


def write_tools(conversation: Conversation) -> list[dict[str, Any]]:
    """The offered tools; with a choice of allowed ones, only these."""
    tools = conversation.tools
    choice = conversation.tool_choice
    if choice is not None and choice.mode == "allowed":
        tools = [tool for tool in tools if tool.name in choice.names]
        if len(tools) < len(conversation.tools):
            note(conversation, f"tools: {len(conversation.tools)} -> {len(tools)} allowed")
    return [_write_tool(tool_to_send(conversation, tool, most_chars=MAX_NAME_CHARS)) for tool in tools]


def _write_tool(tool: Tool) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        shown["description"] = tool.description
    shown["input_schema"] = _object_schema(tool.schema)
    if tool.is_strict:
        shown["strict"] = True
    if tool.cache is not None:
        shown["cache_control"] = write_mark(tool.cache)
    return shown


def _object_schema(schema: Raw | None) -> Raw | dict[str, Any]:
    """The schema of an object: the protocol takes no other, and none without its `type`."""
    if schema is None:
        return _OBJECT
    try:
        fields = _SCHEMA.decode(schema)
    except (ValueError, RecursionError):
        return _OBJECT
    return schema if "type" in fields else {"type": "object", **fields}


def write_tool_choice(conversation: Conversation, *, has_tools: bool) -> dict[str, Any] | None:
    choice = conversation.tool_choice
    if not has_tools or (choice is None and conversation.parallel_tools is not False):
        return None
    written = _write_choice(choice)
    if conversation.parallel_tools is False and written["type"] != "none":
        written["disable_parallel_tool_use"] = True
    return written


def _write_choice(choice: ToolChoice | None) -> dict[str, Any]:
    if choice is None:
        return {"type": "auto"}
    if choice.mode == "tool":
        return {"type": "tool", "name": plain_name(choice.names[0], most=MAX_NAME_CHARS)}
    if choice.mode == "required" or (choice.mode == "allowed" and choice.must_call):
        return {"type": "any"}
    return {"type": "none" if choice.mode == "none" else "auto"}


def answer_tool() -> dict[str, Any]:
    """A tool whose arguments are the answer, where any JSON object is wanted: the protocol knows only schemas."""
    return {
        "name": ANSWER_TOOL,
        "description": "Give the whole answer as one JSON object.",
        "input_schema": Raw(b'{"type":"object","additionalProperties":true}'),
    }


def called_tools(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Declarations of the tools that earlier answers called, as far as their calls tell."""
    blocks = [block for message in messages for block in message["content"] if block["type"] == "tool_use"]
    names = dict.fromkeys(block["name"] for block in blocks)
    return [{"name": name, "input_schema": _OBJECT} for name in names]
