"""Take out of a request what no provider of this protocol takes back: reasoning that others sealed, or that is stale.

A caller that was answered by a model of another protocol sends that model's seals back in `reasoning_details`, and
Gemini's also beside its tool calls. Providers that know neither field refuse it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.dialects.common.json_body import UNREADABLE
from apps.dialects.hub.reasoning import MARK
from apps.dialects.openai_chat.details import OURS
from apps.dialects.protocol import Request

_DETAILS: Final = "reasoning_details"
_CALLS: Final = "tool_calls"
_EXTRA: Final = "extra_content"

_RAW_LIST: Final = msgspec.json.Decoder(list[Raw])
_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])
_OBJECTS: Final[msgspec.json.Decoder[list[dict[str, Any]]]] = msgspec.json.Decoder(list[dict[str, Any]])


def without_foreign(request: Request) -> Request:
    """See `Dialect.without_foreign`."""
    return _without(request, _is_ours) if MARK in bytes(request.fields["messages"]) else request


def without_reasoning(request: Request) -> Request:
    """See `Dialect.without_reasoning`."""
    return _without(request, lambda entry: True)


def _without(request: Request, is_left_out: Callable[[dict[str, Any]], bool]) -> Request:
    messages: list[Raw] = []
    left_out: list[str] = []
    for index, message in enumerate(_RAW_LIST.decode(request.fields["messages"])):
        kept = _shortened(message, is_left_out)
        if kept is not message:
            left_out.append(f"messages[{index}] reasoning: left out")
        messages.append(kept)
    if not left_out:
        return request
    fields = {**request.fields, "messages": Raw(msgspec.json.encode(messages))}
    return replace(request, fields=fields, adapted=(*request.adapted, *left_out))


def _shortened(message: Raw, is_left_out: Callable[[dict[str, Any]], bool]) -> Raw:
    """The message less its sealed reasoning; the same object where it has none. What a client made of the fields by
    itself is its own business: the upstream will say."""
    fields: dict[str, Any] = dict(_FIELDS.decode(message))
    try:
        entries = _OBJECTS.decode(fields[_DETAILS]) if _DETAILS in fields else []
    except UNREADABLE:
        return message
    kept = [entry for entry in entries if not is_left_out(entry)]
    if len(kept) == len(entries):
        return message
    if kept:
        fields[_DETAILS] = kept
    else:
        del fields[_DETAILS]
    signed = {str(entry.get("id")).removeprefix(OURS) for entry in entries if entry not in kept}
    if _CALLS in fields:
        fields[_CALLS] = _unsigned(fields[_CALLS], signed)
    return Raw(msgspec.json.encode(fields))


def _unsigned(calls: Raw, signed: set[str]) -> Raw | list[dict[str, Any]]:
    """Tool calls without the signatures that the details repeated."""
    try:
        made = _OBJECTS.decode(calls)
    except UNREADABLE:
        return calls
    for call in made:
        if call.get("id") in signed:
            call.pop(_EXTRA, None)
    return made


def _is_ours(entry: dict[str, Any]) -> bool:
    return str(entry.get("id")).startswith(OURS)
