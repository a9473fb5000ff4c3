"""Chat messages as turns of the hub."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.dialects.common.json_body import NULL, first_byte, is_null, read_list
from apps.dialects.hub.conversation import (
    CacheMark,
    Document,
    Image,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
)
from apps.dialects.hub.reasoning import ENCRYPTED, GEMINI, Seal
from apps.dialects.openai_chat.details import read_details
from apps.dialects.openai_chat.parts import Mark, read_content, read_images, read_mark
from apps.dialects.protocol import InvalidRequest


class _Function(msgspec.Struct):
    name: str = ""
    arguments: Raw = NULL


class _Custom(msgspec.Struct):
    name: str
    input: str = ""


class _Call(msgspec.Struct):
    id: str = ""
    function: _Function | None = None
    custom: _Custom | None = None
    extra_content: Any = None
    cache_control: Mark | None = None


class _Message(msgspec.Struct):
    role: str
    content: Raw = NULL
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: Any = None
    reasoning_details: list[dict[str, Any]] | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None
    tool_call_id: str | None = None
    images: Raw = NULL
    cache_control: Mark | None = None
    prompt_cache_breakpoint: Mark | None = None


_MESSAGES: Final = msgspec.json.Decoder(list[_Message])


def read_turns(raw: Raw) -> list[Turn]:
    """Raises: InvalidRequest, UnsupportedField."""
    return [
        _read_turn(message, f"messages[{index}]") for index, message in enumerate(read_list(_MESSAGES, raw, "messages"))
    ]


def _read_turn(message: _Message, field: str) -> Turn:
    content = read_content(message.content, f"{field}.content")
    mark = read_mark(message.cache_control, message.prompt_cache_breakpoint)
    parts: list[Part]
    match message.role:
        case "system" | "developer" | "user" as role:
            parts = list(content)
            _mark_last(parts, mark)
            return Turn(role, parts, field, message.name or "")
        case "assistant":
            parts = _read_assistant(message, list(content), field)
            _mark_last(parts, mark)
            return Turn("assistant", parts, field, message.name or "")
        case "tool" | "function":
            return Turn("user", [_read_result(message, content, mark, field)], field)
    raise InvalidRequest(f"`{field}.role` must be system, developer, user, assistant or tool.", param=f"{field}.role")


def _mark_last(parts: list[Part], mark: CacheMark | None) -> None:
    """A mark on a message stands behind the last part that can carry one."""
    if mark is None:
        return
    for part in reversed(parts):
        if not isinstance(part, Thinking | Refusal):
            part.cache = mark
            return


def _read_result(
    message: _Message, content: list[Text | Image | Document | Refusal], mark: CacheMark | None, field: str
) -> ToolResult:
    call_id = message.tool_call_id or (message.name if message.role == "function" else None)
    if not call_id:
        raise InvalidRequest(f"`{field}.tool_call_id` must be a string.", param=f"{field}.tool_call_id")
    parts = [part for part in content if not isinstance(part, Refusal)]
    if mark is None and parts:
        # Behind the last part is behind the result.
        mark, parts[-1].cache = parts[-1].cache, None
    return ToolResult(call_id, parts, cache=mark, name=message.name or "")


def _read_assistant(message: _Message, content: list[Part], field: str) -> list[Part]:
    calls = [_read_call(call, f"{field}.tool_calls[{index}]") for index, call in enumerate(message.tool_calls or ())]
    if message.function_call is not None:
        legacy = message.function_call
        calls.append(ToolCall(legacy.name, legacy.name, _arguments(legacy.arguments)))
    thoughts = _read_thoughts(message)
    parts: list[Part] = [*thoughts, *content]
    if message.refusal:
        parts.append(Refusal(message.refusal))
    parts += read_images(message.images, f"{field}.images")
    return [*parts, *_signed(message, thoughts), *calls]


def _read_thoughts(message: _Message) -> list[Thinking]:
    """Details say all that the plain text says; a client that does not keep them may still keep that."""
    text = message.reasoning_content or (message.reasoning if isinstance(message.reasoning, str) else "")
    thoughts = read_details(message.reasoning_details or [])
    if text and not any(thought.text for thought in thoughts):
        thoughts.insert(0, Thinking(text))
    return thoughts


def _signed(message: _Message, thoughts: list[Thinking]) -> list[Thinking]:
    """Signatures that stand on the calls themselves, where the details did not bring them."""
    known = {thought.seal.item_id for thought in thoughts if thought.seal is not None}
    found = []
    for call in message.tool_calls or ():
        signature = signature_in(call.extra_content)
        if signature and call.id not in known:
            found.append(Thinking(seal=Seal(GEMINI, ENCRYPTED, signature, call.id)))
    return found


def signature_in(extra_content: object) -> str:
    """Gemini's signature where its own chat endpoint puts it: `extra_content.google.thought_signature`."""
    google = extra_content.get("google") if isinstance(extra_content, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) else ""


def _read_call(call: _Call, field: str) -> ToolCall:
    mark = read_mark(call.cache_control)
    if call.custom is not None:
        return ToolCall(call.id, call.custom.name, call.custom.input, is_custom=True, cache=mark)
    if call.function is None:
        raise InvalidRequest(f"`{field}.function` must be an object.", param=f"{field}.function")
    return ToolCall(call.id, call.function.name, _arguments(call.function.arguments), cache=mark)


def _arguments(raw: Raw) -> str:
    """The JSON text; some clients send the object itself."""
    if is_null(raw):
        return ""
    text = bytes(raw).decode()
    return msgspec.json.decode(raw, type=str) if first_byte(raw) == b'"' else text
