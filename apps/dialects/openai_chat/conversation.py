"""A caller's chat request as a Conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from apps.dialects.common.json_body import (
    MAX_COUNT,
    NULL,
    first_byte,
    given,
    nested,
    read,
    read_count,
    read_flag,
    read_number,
    read_object,
    read_text,
)
from apps.dialects.hub.conversation import Conversation, Reasoning, Tuning
from apps.dialects.openai_chat.parts import Mark, read_mark
from apps.dialects.openai_chat.tools import read_output_format, read_tool_choice, read_tools
from apps.dialects.openai_chat.turns import read_turns
from apps.dialects.protocol import Request

READ: Final = frozenset(
    {
        "messages", "tools", "functions", "tool_choice", "function_call", "parallel_tool_calls", "response_format",
        "max_tokens", "max_completion_tokens", "stop", "n", "logprobs", "top_logprobs",
        "temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty", "verbosity", "logit_bias",
        "user", "safety_identifier", "metadata",
        "reasoning_effort", "reasoning", "thinking", "enable_thinking", "thinking_budget", "include_reasoning",
        "modalities", "image_config", "cache_control", "prompt_cache_key", "stream",
    }
)  # fmt: skip
"""Fields that the hub has a word for."""

IDLE: Final = frozenset({"model", "stream_options", "store", "service_tier", "prompt_cache_options"})
"""Fields that say nothing about the answer by the time `parse` let them through, or that we answer to ourselves."""

_MARK: Final = msgspec.json.Decoder(Mark)
_STOPS: Final = msgspec.json.Decoder(str | list[str])
_FLAG: Final = msgspec.json.Decoder(bool | None)


def read_conversation(request: Request) -> Conversation:
    """Raises: InvalidRequest, UnsupportedField."""
    fields = request.fields
    turns = read_turns(fields.get("messages", NULL))
    reasoning = _read_reasoning(fields)
    image = read_object(fields, "image_config")
    mark = given(fields, "cache_control")
    return Conversation(
        turns=turns,
        tools=read_tools(fields),
        tool_choice=read_tool_choice(fields),
        parallel_tools=_read_switch(fields, "parallel_tool_calls"),
        output_format=read_output_format(fields),
        max_tokens=request.max_tokens,
        stop=_read_stop(fields),
        n=request.n,
        reasoning=reasoning,
        tuning=_read_tuning(fields),
        logprobs=_read_logprobs(fields),
        is_stream=request.is_stream,
        makes_images=request.makes_images,
        image_aspect=read_text(image, "aspect_ratio") or "",
        image_size=request.image_size or "",
        cache=None if mark is None else read_mark(read(_MARK, mark, "cache_control", "an object")),
        cache_key=request.cache_key or "",
        wants_encrypted_reasoning=bool(reasoning.effort or reasoning.is_on),
        names=_names(fields),
        unread=tuple(name for name in fields if name not in READ and name not in IDLE and given(fields, name)),
    )


def _read_stop(fields: Mapping[str, Raw]) -> tuple[str, ...]:
    raw = given(fields, "stop")
    if raw is None:
        return ()
    stop = read(_STOPS, raw, "stop", "a string or a list of strings")
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _read_switch(fields: Mapping[str, Raw], name: str) -> bool | None:
    raw = given(fields, name)
    return None if raw is None else read(_FLAG, raw, name, "true or false")


def _read_logprobs(fields: Mapping[str, Raw]) -> int | None:
    raw = given(fields, "logprobs")
    if raw is None or first_byte(raw) not in b"tf":
        return None
    return (read_count(fields, "top_logprobs", least=0) or 0) if read_flag(fields, "logprobs") else None


def _read_tuning(fields: Mapping[str, Raw]) -> Tuning:
    return Tuning(
        temperature=read_number(fields, "temperature"),
        top_p=read_number(fields, "top_p"),
        top_k=read_count(fields, "top_k", least=0),
        seed=read_count(fields, "seed", least=-MAX_COUNT, most=2**63 - 1),
        presence_penalty=read_number(fields, "presence_penalty"),
        frequency_penalty=read_number(fields, "frequency_penalty"),
        verbosity=read_text(fields, "verbosity") or "",
        user=read_text(fields, "safety_identifier") or read_text(fields, "user") or "",
        metadata=given(fields, "metadata"),
        logit_bias=given(fields, "logit_bias"),
    )


def _read_reasoning(fields: Mapping[str, Raw]) -> Reasoning:
    """Every provider of this dialect has its own names for it."""
    ours = nested(fields, "reasoning")
    thinking = nested(fields, "thinking")
    is_on = _read_switch(fields, "enable_thinking")
    if is_on is None:
        is_on = _read_switch(ours, "enabled")
    kind = read_text(thinking, "type")
    if kind is not None:
        is_on = kind != "disabled"
    effort = read_text(fields, "reasoning_effort") or read_text(ours, "effort") or ""
    summary = read_text(ours, "summary") or ""
    if read_flag(ours, "exclude") or _read_switch(fields, "include_reasoning") is False:
        summary = "omitted"
    budgets = (
        read_count(ours, "max_tokens", least=0, label="reasoning.max_tokens"),
        read_count(thinking, "budget_tokens", least=0, label="thinking.budget_tokens"),
        read_count(fields, "thinking_budget", least=0),
    )
    budget = max((tokens for tokens in budgets if tokens is not None), default=None)
    if budget is not None and is_on is None:
        is_on = budget > 0
    return Reasoning(is_on, budget, effort, summary)


_NAMES: Final = {
    "max_tokens": ("max_completion_tokens", "max_tokens"),
    "user": ("safety_identifier", "user"),
    "reasoning": ("reasoning_effort", "reasoning", "thinking", "enable_thinking", "thinking_budget"),
    "tools": ("tools", "functions"),
    "tool_choice": ("tool_choice", "function_call"),
}
"""Features that have several names here, the one that counts first."""

_RENAMED: Final = {
    "output_format": "response_format",
    "parallel_tools": "parallel_tool_calls",
    "makes_images": "modalities",
    "image_aspect": "image_config.aspect_ratio",
    "image_size": "image_config.image_size",
    "cache": "cache_control",
    "cache_key": "prompt_cache_key",
}


def _names(fields: Mapping[str, Raw]) -> Mapping[str, str]:
    names = dict(_RENAMED)
    for feature, candidates in _NAMES.items():
        names[feature] = next((name for name in candidates if given(fields, name) is not None), candidates[0])
    return names
