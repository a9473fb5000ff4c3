"""Tools that take free text (OpenAI's `custom` kind) for targets that only know JSON arguments.

Shape:  patch, "*** Begin Patch"  ->  function `patch`, {"input": "*** Begin Patch"}  ->  patch, "*** Begin Patch"
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec
from msgspec import Raw

from apps.dialects.hub.conversation import Tool

SCHEMA: Final = Raw(
    b'{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}'
)


class _Input(msgspec.Struct, forbid_unknown_fields=True):
    input: str


class _Grammar(msgspec.Struct):
    type: str = ""
    syntax: str = ""
    definition: str = ""


_INPUT: Final = msgspec.json.Decoder(_Input)
_GRAMMAR: Final = msgspec.json.Decoder(_Grammar)


def as_function(tool: Tool) -> Tool:
    """The same tool with its text as the argument `input`. The grammar moves into the description: nothing enforces it
    there, but the model can follow it."""
    parts = [tool.description] if tool.description else []
    if tool.format is not None and (grammar := _grammar(tool.format)):
        parts.append(grammar)
    return replace(tool, description="\n\n".join(parts) or None, schema=SCHEMA, is_custom=False, format=None)


def wrap_input(text: str) -> str:
    """JSON arguments for a call of such a function."""
    return msgspec.json.encode(_Input(text)).decode()


def unwrap_input(arguments: str) -> str:
    """The free text out of such arguments; arguments of any other shape are the text themselves."""
    try:
        return _INPUT.decode(arguments).input
    except (ValueError, RecursionError):
        return arguments


def _grammar(raw: Raw) -> str:
    try:
        grammar = _GRAMMAR.decode(raw)
    except (ValueError, RecursionError):
        return ""
    if not grammar.definition:
        return ""
    return f"The input must follow this {grammar.syntax} grammar:\n{grammar.definition}"
