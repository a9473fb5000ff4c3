"""Read a request's items into turns."""

from __future__ import annotations

from typing import Any, Final, TypeVar, cast

import msgspec
from msgspec import Raw

from apps.dialects.common.json_body import NULL, UNREADABLE, first_byte, is_null, read, read_list
from apps.dialects.hub.conversation import Document, Image, Part, Role, Text, ToolCall, ToolResult, Turn
from apps.dialects.openai_responses import items
from apps.dialects.openai_responses.tools import Offer
from apps.dialects.protocol import InvalidRequest, UnsupportedField

T = TypeVar("T")

ADDITIONAL: Final = "additional_tools"
_ROLES: Final = frozenset({"system", "developer", "user", "assistant"})
_NATIVE_CALLS: Final = {"local_shell_call": "local_shell", "apply_patch_call": "apply_patch", "shell_call": "shell"}
_RESULTS: Final = frozenset(
    {"function_call_output", "custom_tool_call_output", "local_shell_call_output", "apply_patch_call_output"}
)
_FAILED: Final = ("failed", "incomplete")
_TEXT: Final = msgspec.json.Decoder(str)


class _Tools(msgspec.Struct):
    tools: Raw = NULL


class _Output(msgspec.Struct):
    call_id: str = ""
    output: Raw = NULL


_ITEM_TOOLS: Final = msgspec.json.Decoder(_Tools)
_SHELL_OUTPUT: Final = msgspec.json.Decoder(_Output)


class TurnReader:
    """Items in, turns out: what the model made in one go becomes one turn, so do the results of its calls."""

    def __init__(self, offer: Offer) -> None:
        self.turns: list[Turn] = []
        self.left_out: list[str] = []
        self._offer = offer
        self._names: dict[str, str] = {}

    def read(self, raw: Raw) -> None:
        """Raises: InvalidRequest, UnsupportedField."""
        if first_byte(raw) == b'"':
            self.turns.append(Turn("user", [Text(read(_TEXT, raw, "input", "a string"))], field="input"))
            return
        heads = read_list(items.HEADS, raw, "input")
        for index, (head, item) in enumerate(zip(heads, items.ITEMS.decode(raw), strict=True)):
            self._item(head.type or "message", item, f"input[{index}]")

    def _item(self, kind: str, raw: Raw, field: str) -> None:
        if kind == "message":
            self._message(raw, field)
        elif kind in ("function_call", "custom_tool_call"):
            self._call(raw, field, is_custom=kind == "custom_tool_call")
        elif kind in _RESULTS:
            self._result(raw, field, kind)
        elif kind == "shell_call_output":
            self._shell_result(raw, field)
        elif kind == "reasoning":
            thought = items.read_reasoning(_read(items.REASONING, raw, field))
            self._add("assistant", [thought] if thought is not None else [], field)
        elif kind in _NATIVE_CALLS:
            self._native_call(raw, field, _NATIVE_CALLS[kind])
        elif kind == "image_generation_call":
            image = items.read_drawing(_read(items.DRAWING, raw, field))
            self._add("assistant", [image] if image is not None else [], field)
        elif kind in items.HOSTED:
            self.left_out.append(f"{field} {kind}")
        elif kind != ADDITIONAL:
            raise UnsupportedField(
                f"`{field}` is of type `{kind}`, which the protocol of this model's provider cannot say.",
                param=f"{field}.type",
            )

    def _message(self, raw: Raw, field: str) -> None:
        message = _read(items.MESSAGE, raw, field)
        if message.role not in _ROLES:
            raise InvalidRequest(f"`{field}.role` is not a role.", param=f"{field}.role")
        role = cast("Role", message.role)
        parts = _parts(message.content, f"{field}.content")
        if role == "assistant":
            self._add(role, parts, field)
        else:
            self.turns.append(Turn(role, parts, field=field))

    def _call(self, raw: Raw, field: str, *, is_custom: bool) -> None:
        call = _read(items.CALL, raw, field)
        name = self._offer.name_of(call.name, call.namespace)
        call_id = _call_id(call.call_id, field)
        self._names[call_id] = name
        arguments = (call.input if is_custom else call.arguments) or ""
        self._add("assistant", [ToolCall(call_id, name, arguments, is_custom)], field)

    def _native_call(self, raw: Raw, field: str, name: str) -> None:
        call = _read(items.NATIVE_CALL, raw, field)
        arguments = call.action if is_null(call.operation) else call.operation
        self._names[_call_id(call.call_id, field)] = name
        self._add("assistant", [ToolCall(call.call_id, name, bytes(arguments).decode())], field)

    def _result(self, raw: Raw, field: str, kind: str) -> None:
        result = _read(items.RESULT, raw, field)
        # A local shell's output has no other id than the call's.
        call_id = _call_id(result.call_id or result.id, field)
        parts = [part for part in _parts(result.output, f"{field}.output") if isinstance(part, Text | Image | Document)]
        mark = parts[-1].cache if parts else None
        if mark is not None:
            # A mark behind the last part is one behind the whole result.
            parts[-1].cache = None
        self._answer(
            ToolResult(
                call_id,
                parts,
                is_error=result.status in _FAILED,
                is_custom=kind == "custom_tool_call_output",
                cache=mark,
                name=self._names.get(call_id, ""),
            ),
            field,
        )

    def _shell_result(self, raw: Raw, field: str) -> None:
        """Standard output, errors and exit codes of each command, as JSON: models read it."""
        result = _read(_SHELL_OUTPUT, raw, field)
        call_id = _call_id(result.call_id, field)
        parts: list[Text | Image | Document] = [Text(bytes(result.output).decode())]
        self._answer(ToolResult(call_id, parts, name=self._names.get(call_id, "")), field)

    def _answer(self, result: ToolResult, field: str) -> None:
        last = self.turns[-1] if self.turns else None
        if last is not None and last.role == "user" and last.parts and isinstance(last.parts[-1], ToolResult):
            last.parts.append(result)
        else:
            self.turns.append(Turn("user", [result], field=field))

    def _add(self, role: Role, parts: list[Any], field: str) -> None:
        last = self.turns[-1] if self.turns else None
        if last is not None and last.role == role:
            last.parts.extend(parts)
        elif parts:
            self.turns.append(Turn(role, parts, field=field))


def offer_more(raw: Raw, offer: Offer) -> None:
    """Tools that a client found on the way (`additional_tools`) count as offered."""
    if first_byte(raw) != b"[" or ADDITIONAL.encode() not in bytes(raw):
        return
    heads = read_list(items.HEADS, raw, "input")
    for index, (head, item) in enumerate(zip(heads, items.ITEMS.decode(raw), strict=True)):
        if head.type == ADDITIONAL:
            field = f"input[{index}]"
            offer.add(_read(_ITEM_TOOLS, item, field).tools, f"{field}.tools")


def _parts(content: str | list[items.Part] | None, field: str) -> list[Part]:
    """Raises: UnsupportedField, for a part of a kind that no other protocol has."""
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)]
    parts: list[Part] = []
    for index, raw in enumerate(content):
        part = items.read_part(raw)
        if part is None:
            raise UnsupportedField(
                f"`{field}[{index}]` is of type `{raw.type}`, which the protocol of this model's provider cannot say.",
                param=f"{field}[{index}].type",
            )
        parts.append(part)
    return parts


def _call_id(call_id: str | None, field: str) -> str:
    if not call_id:
        raise InvalidRequest(f"`{field}.call_id` is required.", param=f"{field}.call_id")
    return call_id


def _read(decoder: msgspec.json.Decoder[T], raw: Raw, field: str) -> T:
    """One item; that the whole list is no crowd was seen before."""
    try:
        return decoder.decode(raw)
    except UNREADABLE:
        raise InvalidRequest(f"`{field}` must be an item of the Responses API.", param=field) from None
