"""Client tools, tool choice and structured output as chat says them: both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.dialects.common.json_body import NULL, first_byte, given, is_null, read, read_list, read_text
from apps.dialects.hub.abilities import unsupported
from apps.dialects.hub.conversation import Conversation, OutputFormat, Tool, ToolChoice
from apps.dialects.hub.sent import plain_name, tool_to_send
from apps.dialects.openai_chat.parts import Mark, Marks, put_mark, read_mark
from apps.dialects.protocol import InvalidRequest

DEFAULT_SCHEMA_NAME: Final = "response"
MAX_NAME_CHARS: Final = 64
"""Of a function; letters, digits, `_` and `-`."""


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: Raw = NULL
    strict: bool | None = None


class _Custom(msgspec.Struct):
    name: str
    description: str | None = None
    format: Raw = NULL


class _Tool(msgspec.Struct):
    type: str = "function"
    function: _Function | None = None
    custom: _Custom | None = None
    cache_control: Mark | None = None
    prompt_cache_breakpoint: Mark | None = None


class _Named(msgspec.Struct):
    name: str


class _Reference(msgspec.Struct):
    type: str = "function"
    function: _Named | None = None
    custom: _Named | None = None
    name: str | None = None

    @property
    def named(self) -> str | None:
        holder = self.function or self.custom
        return holder.name if holder is not None else self.name


class _Allowed(msgspec.Struct):
    tools: list[_Reference]
    mode: str = "auto"


class _Choice(_Reference):
    allowed_tools: _Allowed | None = None


class _Schema(msgspec.Struct):
    name: str = ""
    description: str | None = None
    schema: Raw = NULL
    strict: bool | None = None


class _Format(msgspec.Struct):
    type: str
    json_schema: _Schema | None = None


_TOOLS: Final = msgspec.json.Decoder(list[_Tool])
_FUNCTIONS: Final = msgspec.json.Decoder(list[_Function])
_CHOICE: Final = msgspec.json.Decoder(_Choice)
_CALL: Final = msgspec.json.Decoder(_Named)
_FORMAT: Final = msgspec.json.Decoder(_Format)


def read_tools(fields: Mapping[str, Raw]) -> list[Tool]:
    """`tools`, or `functions` as they were called first.

    Raises: InvalidRequest, UnsupportedField.
    """
    raw = given(fields, "tools")
    if raw is not None:
        return [_read_tool(tool, f"tools[{index}]") for index, tool in enumerate(read_list(_TOOLS, raw, "tools"))]
    raw = given(fields, "functions")
    return [] if raw is None else [_read_function(function) for function in read_list(_FUNCTIONS, raw, "functions")]


def _read_tool(tool: _Tool, field: str) -> Tool:
    mark = read_mark(tool.cache_control, tool.prompt_cache_breakpoint)
    if tool.function is not None:
        read_in = _read_function(tool.function)
        read_in.cache = mark
        return read_in
    if tool.custom is None:
        raise unsupported(f"{field}.type")
    custom = tool.custom
    grammar = None if is_null(custom.format) else custom.format
    return Tool(custom.name, custom.description, cache=mark, is_custom=True, format=grammar)


def _read_function(function: _Function) -> Tool:
    schema = None if is_null(function.parameters) else function.parameters
    return Tool(function.name, function.description, schema, function.strict)


def read_tool_choice(fields: Mapping[str, Raw]) -> ToolChoice | None:
    """`tool_choice` in all its forms, or `function_call` as it was called first.

    Raises: InvalidRequest, UnsupportedField.
    """
    name = "tool_choice" if given(fields, "tool_choice") is not None else "function_call"
    raw = given(fields, name)
    if raw is None:
        return None
    if first_byte(raw) == b'"':
        word = read_text(fields, name)
        match word:
            case "auto" | "none":
                return ToolChoice(word)
            case "required" | "any":
                return ToolChoice("required")
        raise InvalidRequest(f"`{name}` must be auto, none, required or an object.", param=name)
    if name == "function_call":
        return ToolChoice("tool", (read(_CALL, raw, name, "an object with `name`").name,))
    choice = read(_CHOICE, raw, name, "a string or an object that names tools")
    if choice.allowed_tools is not None:
        names = tuple(tool.named for tool in choice.allowed_tools.tools if tool.named)
        return ToolChoice("allowed", names, must_call=choice.allowed_tools.mode == "required")
    if not choice.named:
        raise unsupported(name)
    return ToolChoice("tool", (choice.named,))


def read_output_format(fields: Mapping[str, Raw]) -> OutputFormat | None:
    """`response_format`. Raises: InvalidRequest, UnsupportedField."""
    raw = given(fields, "response_format")
    if raw is None:
        return None
    wanted = read(_FORMAT, raw, "response_format", "an object with `type`")
    match wanted.type:
        case "text":
            return None
        case "json_object":
            return OutputFormat("json")
        case "json_schema" if wanted.json_schema is not None:
            schema = wanted.json_schema
            body = None if is_null(schema.schema) else schema.schema
            return OutputFormat("schema", body, schema.name, schema.description or "", schema.strict)
    raise unsupported("response_format.type")


def write_tool(conversation: Conversation, tool: Tool, *, marks: Marks, knows_custom: bool) -> dict[str, Any]:
    """A tool under a name and of a kind that the provider takes; the answer has the caller's own again."""
    sent = tool_to_send(conversation, tool, most_chars=MAX_NAME_CHARS, knows_custom=knows_custom)
    inner: dict[str, Any] = {"name": sent.name}
    if sent.description is not None:
        inner["description"] = sent.description
    if sent.is_custom:
        if sent.format is not None:
            inner["format"] = sent.format
        shown: dict[str, Any] = {"type": "custom", "custom": inner}
    else:
        inner["parameters"] = sent.schema if sent.schema is not None else {"type": "object", "properties": {}}
        if sent.is_strict is not None:
            inner["strict"] = sent.is_strict
        shown = {"type": "function", "function": inner}
    if marks == "cache_control":
        put_mark(shown, tool.cache, marks)
    return shown


def write_tool_choice(choice: ToolChoice, tools: list[Tool], *, knows_custom: bool) -> str | dict[str, Any]:
    custom = {tool.name for tool in tools if tool.is_custom and knows_custom}
    named = [_reference(name, "custom" if name in custom else "function") for name in choice.names]
    if choice.mode == "tool":
        return named[0]
    if choice.mode == "allowed":
        allowed = {"mode": "required" if choice.must_call else "auto", "tools": named}
        return {"type": "allowed_tools", "allowed_tools": allowed}
    return choice.mode


def _reference(name: str, kind: str) -> dict[str, Any]:
    return {"type": kind, kind: {"name": plain_name(name, most=MAX_NAME_CHARS)}}


def write_output_format(wanted: OutputFormat) -> dict[str, Any]:
    if wanted.kind == "json":
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": wanted.name or DEFAULT_SCHEMA_NAME}
    if wanted.description:
        schema["description"] = wanted.description
    if wanted.schema is not None:
        schema["schema"] = wanted.schema
    if wanted.is_strict is not None:
        schema["strict"] = wanted.is_strict
    return {"type": "json_schema", "json_schema": schema}
