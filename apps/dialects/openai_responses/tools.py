"""Read the tools that a caller offers, and which of them it wants called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from msgspec import Raw

from apps.dialects.common.json_body import NULL, first_byte, is_null, read, read_list
from apps.dialects.hub.conversation import Tool, ToolChoice
from apps.dialects.protocol import InvalidRequest, UnsupportedField

MAX_NAME_CHARS: Final = 64

NATIVE: Final[Mapping[str, tuple[str, Raw]]] = {
    "local_shell": (
        "Run a command on the user's machine and get its output.",
        Raw(
            b'{"type":"object","properties":{"type":{"type":"string","enum":["exec"]},'
            b'"command":{"type":"array","items":{"type":"string"}},"env":{"type":"object",'
            b'"additionalProperties":{"type":"string"}},"working_directory":{"type":"string"},'
            b'"timeout_ms":{"type":"integer"},"user":{"type":"string"}},"required":["type","command","env"]}'
        ),
    ),
    "apply_patch": (
        "Create, update or delete one file on the user's machine. `diff` is a V4A diff; a deletion has none.",
        Raw(
            b'{"type":"object","properties":{"type":{"type":"string","enum":["create_file","update_file",'
            b'"delete_file"]},"path":{"type":"string"},"diff":{"type":"string"}},"required":["type","path"]}'
        ),
    ),
}
"""Tools that this protocol defines and the caller runs: what other protocols are told of them."""


class _Tool(msgspec.Struct):
    type: str = ""
    name: str | None = None
    description: str | None = None
    parameters: Raw = NULL
    strict: bool | None = None
    format: Raw = NULL
    tools: Raw = NULL


class _Named(msgspec.Struct):
    name: str = ""


class _Choice(msgspec.Struct):
    type: str = ""
    name: str | None = None
    namespace: str | None = None
    mode: str | None = None
    tools: list[_Choice] | None = None
    function: _Named | None = None


_TOOLS: Final = msgspec.json.Decoder(list[_Tool])
_CHOICE: Final = msgspec.json.Decoder(_Choice)
_WORD: Final = msgspec.json.Decoder(str)


@dataclass(slots=True)
class Offer:
    """The tools of a request. `left_out` names those that no other protocol can offer."""

    tools: list[Tool] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add(self, raw: Raw, where: str) -> None:
        """Take a list of tools. Those that were offered before, under the same name, stay as they are.

        Raises: InvalidRequest.
        """
        known = {(tool.namespace, _own_name(tool)) for tool in self.tools}
        for index, tool in enumerate(read_list(_TOOLS, raw, where)):
            for found in self._read(tool, f"{where}[{index}]"):
                if (found.namespace, _own_name(found)) not in known:
                    self.tools.append(found)

    def settle(self) -> None:
        """Name each tool so that no two share a name: by its own name where that is enough, else with its group's."""
        names = Counter(map(_own_name, self.tools))
        for tool in self.tools:
            if tool.namespace and names[tool.short_name] > 1:
                tool.name = f"{tool.namespace}__{tool.short_name}"[:MAX_NAME_CHARS]

    def name_of(self, name: str, namespace: str | None) -> str:
        """What a tool of that name in that group is called without groups."""
        if namespace:
            for tool in self.tools:
                if tool.namespace == namespace and tool.short_name == name:
                    return tool.name
        return name

    def _read(self, tool: _Tool, where: str) -> list[Tool]:
        kind = tool.type
        if kind in NATIVE:
            description, schema = NATIVE[kind]
            return [Tool(kind, description, schema, native=kind)]
        if kind not in ("function", "custom", "namespace"):
            self.left_out.append(f"{where} {kind or 'tool'}")
            return []
        if not tool.name:
            raise InvalidRequest(f"`{where}.name` is required.", param=f"{where}.name")
        if kind == "namespace":
            return self._read_group(tool, tool.name, where)
        return [_client_tool(tool, tool.name)]

    def _read_group(self, group: _Tool, name: str, where: str) -> list[Tool]:
        found = []
        for index, tool in enumerate(read_list(_TOOLS, group.tools, f"{where}.tools")):
            for member in self._read(tool, f"{where}.tools[{index}]"):
                member.namespace, member.short_name = name, member.name
                found.append(member)
        return found


def _client_tool(tool: _Tool, name: str) -> Tool:
    return Tool(
        name,
        tool.description,
        None if is_null(tool.parameters) else tool.parameters,
        tool.strict,
        is_custom=tool.type == "custom",
        format=None if is_null(tool.format) else tool.format,
    )


def _own_name(tool: Tool) -> str:
    return tool.short_name or tool.name


def read_choice(raw: Raw, offer: Offer) -> ToolChoice:
    """Raises: InvalidRequest for what is no choice, UnsupportedField for a choice among the provider's own tools."""
    if first_byte(raw) == b'"':
        word = read(_WORD, raw, "tool_choice", "a string")
        if word == "auto":
            return ToolChoice("auto")
        if word == "none":
            return ToolChoice("none")
        if word == "required":
            return ToolChoice("required")
        raise InvalidRequest("`tool_choice` must be `auto`, `none`, `required` or an object.", param="tool_choice")
    choice = read(_CHOICE, raw, "tool_choice", "a string or an object with a `type`")
    if choice.type == "allowed_tools":
        names = tuple(_chosen(tool, offer) for tool in choice.tools or ())
        return ToolChoice("allowed", names, must_call=choice.mode == "required")
    return ToolChoice("tool", (_chosen(choice, offer),))


def _chosen(choice: _Choice, offer: Offer) -> str:
    if choice.type in NATIVE:
        return choice.type
    if choice.type not in ("function", "custom"):
        raise UnsupportedField(
            f"`tool_choice` names a tool of type `{choice.type}`, which this model's provider does not have.",
            param="tool_choice",
        )
    name = choice.name or (choice.function.name if choice.function is not None else "")
    if not name:
        raise InvalidRequest("`tool_choice.name` is required.", param="tool_choice.name")
    return offer.name_of(name, choice.namespace)
