"""A caller's Messages request as a Conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from apps.dialects.anthropic_messages.blocks import read_turns
from apps.dialects.anthropic_messages.marks import Mark, read_mark
from apps.dialects.anthropic_messages.tools import read_output_format, read_tool_choice, read_tools
from apps.dialects.common.json_body import NULL, Fields, given, nested, read, read_count, read_number, read_text
from apps.dialects.hub.conversation import Conversation, Reasoning, Tuning
from apps.dialects.protocol import InvalidRequest, Request

READ: Final = frozenset(
    {
        "messages", "system", "tools", "tool_choice", "max_tokens", "stop_sequences", "stream",
        "temperature", "top_p", "top_k", "metadata", "thinking", "output_config", "output_format", "cache_control",
    }
)  # fmt: skip
"""Fields that the hub has a word for."""

IDLE: Final = frozenset({"model", "service_tier", "speed", "inference_geo"})
"""Fields that say nothing about the answer by the time `parse` let them through."""

_NESTED: Final = {"output_config": frozenset({"effort", "format"}), "metadata": frozenset({"user_id"})}

NAMES: Final[Mapping[str, str]] = {
    "stop": "stop_sequences",
    "output_format": "output_config.format",
    "reasoning": "thinking",
    "parallel_tools": "tool_choice.disable_parallel_tool_use",
    "user": "metadata.user_id",
    "cache": "cache_control",
}
"""What the hub's features are called here."""

_DISPLAYS: Final = {"omitted": "omitted", "summarized": "auto"}
_MARK: Final = msgspec.json.Decoder(Mark)
_STOPS: Final[msgspec.json.Decoder[tuple[str, ...]]] = msgspec.json.Decoder(tuple[str, ...])


def read_conversation(request: Request) -> Conversation:
    """Raises: InvalidRequest, UnsupportedField."""
    fields = dict(request.fields)
    unread = [name for name in fields if name not in READ and name not in IDLE and given(fields, name) is not None]
    for holder, known in _NESTED.items():
        unread += [f"{holder}.{name}" for name in nested(fields, holder) if name not in known]
    turns = read_turns(fields.get("messages", NULL), fields.get("system", NULL), unread)
    tools = read_tools(fields, unread)
    tool_choice, parallel_tools = read_tool_choice(fields, tools)
    mark = given(fields, "cache_control")
    stop = given(fields, "stop_sequences")
    return Conversation(
        turns=turns,
        tools=tools,
        tool_choice=tool_choice,
        parallel_tools=parallel_tools,
        output_format=read_output_format(fields),
        max_tokens=request.max_tokens,
        stop=() if stop is None else read(_STOPS, stop, "stop_sequences", "a list of strings"),
        reasoning=_read_reasoning(fields),
        tuning=Tuning(
            temperature=read_number(fields, "temperature"),
            top_p=read_number(fields, "top_p"),
            top_k=read_count(fields, "top_k", least=0),
            user=read_text(nested(fields, "metadata"), "user_id") or "",
        ),
        is_stream=request.is_stream,
        cache=None if mark is None else read_mark(read(_MARK, mark, "cache_control", "an object")),
        wants_encrypted_reasoning=True,
        names=NAMES if given(fields, "output_format") is None else {**NAMES, "output_format": "output_format"},
        unread=tuple(unread),
    )


def _read_reasoning(fields: Fields) -> Reasoning:
    thinking: dict[str, Raw] = nested(fields, "thinking")
    kind = read_text(thinking, "type")
    if kind not in (None, "enabled", "adaptive", "disabled"):
        raise InvalidRequest("`thinking.type` must be enabled, adaptive or disabled.", param="thinking.type")
    is_on = None if kind is None else kind != "disabled"
    budget = None
    if kind == "enabled":
        budget = read_count(thinking, "budget_tokens", least=0, label="thinking.budget_tokens")
    effort = read_text(nested(fields, "output_config"), "effort") or ""
    display = read_text(thinking, "display") or ""
    return Reasoning(is_on, budget, effort, _DISPLAYS.get(display, ""))
