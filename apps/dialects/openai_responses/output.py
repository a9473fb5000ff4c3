"""Items and response objects as this protocol shows them: one shape for plain replies, streams and requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.core.ids import new_id
from apps.core.tokens import TokenUsage
from apps.dialects.common.json_body import first_byte
from apps.dialects.hub.answer import Ending
from apps.dialects.hub.conversation import Conversation, Text, Tool
from apps.dialects.hub.reasoning import ENCRYPTED, OPENAI, Seal, wrap
from apps.dialects.openai_responses.usage import render_usage

Item = dict[str, Any]

NO_ARGUMENTS: Final = "{}"
DECLINED: Final = "The model declined to answer."
"""What a refusal says where the provider gave no words."""

_PREFIXES: Final = re.compile(r"^(?:resp|chatcmpl|msg|gen)[-_]")
_UNFIT: Final = re.compile(r"[^A-Za-z0-9_-]")
MAX_BASE_CHARS: Final = 44
"""With prefix and index an id stays below the 64 characters that providers take back."""

_CITATIONS: Final = {
    "url_citation": "url",
    "file_citation": "file_id",
    "container_file_citation": "container_id",
    "file_path": "file_id",
}
"""This protocol's annotations, each with a member that tells it from another's of the same name."""

_REASONS: Final = {"length": "max_output_tokens", "filtered": "content_filter", "pause": "pause_turn"}
_ENDINGS: Final = {reason: ending for ending, reason in _REASONS.items()}
_COMPLETED: Final = frozenset({"end", "stop_sequence", "tools", "refusal"})


@dataclass(frozen=True, slots=True)
class Ids:
    """Ids of one response and its items: unique, and the same in every event."""

    base: str
    _kept: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, upstream_id: str) -> Ids:
        """From the upstream's own id, so that both sides' logs can be laid beside each other."""
        base = _UNFIT.sub("", _PREFIXES.sub("", upstream_id))[:MAX_BASE_CHARS]
        return cls(base if len(base) >= 8 else new_id().hex)

    @property
    def response(self) -> str:
        return f"resp_{self.base}"

    def item(self, kind: str, index: int) -> str:
        """Shape:  msg, 0 -> `msg_68a72e32db2c_0`"""
        return f"{kind}_{self.base}_{index}"

    def keep(self, given: str, kind: str, index: int) -> str:
        """The upstream's own id of this item; a new one where it gave none, or gave another item the same."""
        return given if given and self._kept.setdefault(given, index) == index else self.item(kind, index)


def message_item(item_id: str, content: list[Item], *, status: str = "completed") -> Item:
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content}


def text_part(text: str, *, annotations: list[Any] | None = None, logprobs: Any = None) -> Item:
    return {"type": "output_text", "text": text, "annotations": annotations or [], "logprobs": logprobs or []}


def refusal_part(text: str) -> Item:
    return {"type": "refusal", "refusal": text}


def reasoning_item(item_id: str, text: str, seal: Seal | None, *, is_summary: bool) -> Item:
    """The text as `summary` or as `content`; a foreign seal travels in the field of our own."""
    item: Item = {"id": item_id, "type": "reasoning", "summary": []}
    if text and is_summary:
        item["summary"] = [{"type": "summary_text", "text": text}]
    elif text:
        item["content"] = [{"type": "reasoning_text", "text": text}]
    if seal is not None:
        item["encrypted_content"] = sealed_text(seal)
    return item


def sealed_text(seal: Seal) -> str:
    return seal.payload if seal.family == OPENAI and seal.kind == ENCRYPTED else wrap(seal)


def call_item(call_id: str, name: str, arguments: str, *, is_custom: bool) -> Item:
    """A call without an id or a status of its own, as it goes upstream."""
    if is_custom:
        return {"type": "custom_tool_call", "call_id": call_id, "name": name, "input": arguments}
    arguments = arguments or NO_ARGUMENTS
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


class CallShapes:
    """How calls are shown to the caller: the way it offered the tool, in its group, as the kind that it defined."""

    def __init__(self, conversation: Conversation) -> None:
        self._tools = {tool.name: tool for tool in conversation.tools}

    def tool(self, name: str) -> Tool | None:
        return self._tools.get(name)

    def item(self, ids: Ids, index: int, call_id: str, name: str, arguments: str, *, is_custom: bool) -> Item:
        tool = self._tools.get(name)
        call_id = ids.keep(call_id, "call", index)
        if tool is not None and tool.native:
            native = _native_item(ids.item("lsh" if tool.native == "local_shell" else "apc", index), tool, arguments)
            if native is not None:
                return {**native, "call_id": call_id}
        shown = call_item(call_id, name, arguments, is_custom=is_custom)
        if tool is not None and tool.namespace:
            shown["name"], shown["namespace"] = tool.short_name, tool.namespace
        return {"id": ids.item("ctc" if is_custom else "fc", index), "status": "completed", **shown}


def _native_item(item_id: str, tool: Tool, arguments: str) -> Item | None:
    """A call of a tool that the protocol defines; None where the arguments are no JSON object."""
    raw = Raw(arguments.encode())
    try:
        msgspec.json.decode(raw, type=dict[str, Any])
    except (ValueError, RecursionError):
        return None
    member = "action" if tool.native == "local_shell" else "operation"
    return {"id": item_id, "type": f"{tool.native}_call", "status": "completed", member: raw}


def drawing_item(item_id: str, media_type: str, data: str | Raw) -> Item:
    return {
        "id": item_id,
        "type": "image_generation_call",
        "status": "completed",
        "output_format": media_type.rpartition("/")[2] or "png",
        "result": data,
    }


def own_citations(part: Text) -> list[Any]:
    """Those annotations that are in this protocol's shape."""
    return [cited for cited in part.citations or () if is_own_citation(cited)]


def is_own_citation(citation: object) -> bool:
    if not isinstance(citation, dict):
        return False
    kind = citation.get("type")
    return isinstance(kind, str) and _CITATIONS.get(kind) in citation


def response_object(
    ids: Ids, conversation: Conversation, *, model_id: str, created_s: int, status: str, output: list[Any]
) -> Item:
    """The object that stands in replies and in the events that open and close a stream, usage and ending apart."""
    echo = conversation.echo
    return {
        "id": ids.response,
        "object": "response",
        "created_at": created_s,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": echo.get("instructions"),
        "max_output_tokens": echo.get("max_output_tokens"),
        "model": model_id,
        "output": output,
        "parallel_tool_calls": _said(echo, "parallel_tool_calls", default=True),
        "previous_response_id": None,
        "prompt_cache_key": echo.get("prompt_cache_key"),
        "reasoning": _said(echo, "reasoning", default={"effort": None, "summary": None}),
        "safety_identifier": echo.get("safety_identifier"),
        "service_tier": "default",
        "store": False,
        "temperature": echo.get("temperature"),
        "text": _said(echo, "text", default={"format": {"type": "text"}}),
        "tool_choice": _said(echo, "tool_choice", default="auto"),
        "tools": _said(echo, "tools", default=[]),
        "top_logprobs": _said(echo, "top_logprobs", default=0),
        "top_p": echo.get("top_p"),
        "truncation": "disabled",
        "usage": None,
        "user": echo.get("user"),
        "metadata": _said(echo, "metadata", default={}),
    }


def close_response(response: Item, ending: Ending | None, usage: TokenUsage | None) -> str:
    """Set how a response ended and what it used; return its status. Without an ending it was cut: at its maximum."""
    if ending is not None and ending.reason in _COMPLETED:
        status = "completed"
    else:
        status = "incomplete"
        reason = ending.reason if ending is not None else "length"
        native = ending.native if ending is not None else ""
        response["incomplete_details"] = {"reason": _REASONS.get(reason) or native or reason}
    response["status"] = status
    response["usage"] = render_usage(usage) if usage is not None else None
    return status


def read_ending(status: str, reason: str, *, has_calls: bool, has_refusal: bool) -> Ending:
    """How a response ended: calls that are pending and refusals show in its items alone."""
    if status == "incomplete":
        known = _ENDINGS.get(reason)
        return Ending(known, native=reason) if known is not None else Ending("other", native=reason or status)  # type: ignore[arg-type]
    if has_calls:
        return Ending("tools", native=status)
    return Ending("refusal" if has_refusal else "end", native=status)


def _said(echo: Mapping[str, Raw], name: str, *, default: object) -> object:
    raw = echo.get(name)
    return default if raw is None or first_byte(raw) == b"n" else raw
