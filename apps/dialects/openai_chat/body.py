"""A Conversation as the chat request that goes upstream."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from apps.dialects.common.upstream import namespaced
from apps.dialects.hub.abilities import (
    MEANING,
    TUNING,
    Abilities,
    change,
    check,
    clamp,
    leave_out,
    max_tokens_of,
    note_marks,
)
from apps.dialects.hub.conversation import Conversation
from apps.dialects.hub.effort import effort_of
from apps.dialects.openai_chat.messages import Message, Writer
from apps.dialects.openai_chat.parts import write_mark
from apps.dialects.openai_chat.tools import write_output_format, write_tool, write_tool_choice

ABILITIES: Final = Abilities(
    meaning=frozenset(MEANING),
    # `metadata` is refused by providers unless the reply is stored; `top_k` is no word of this protocol.
    tuning=frozenset(TUNING) - {"top_k", "metadata"},
)
MAX_TEMPERATURE: Final = 2.0


def write_conversation(
    conversation: Conversation, *, upstream_model: str, max_tokens: int | None, account_tag: str
) -> bytes:
    """See `UpstreamSide.write_conversation`."""
    check(conversation, ABILITIES)
    keeps_marks = conversation.keeps_cache_marks
    if not keeps_marks:
        note_marks(conversation)
    messages = Writer(conversation).write()
    if conversation.cache is not None and keeps_marks:
        _mark_end(messages, write_mark(conversation.cache))
    body: dict[str, Any] = {"model": upstream_model, "messages": messages}
    limit = max_tokens_of(conversation, max_tokens)
    if limit is not None:
        body["max_tokens"] = limit
    body |= _tools(conversation)
    if conversation.output_format is not None:
        body["response_format"] = write_output_format(conversation.output_format)
    if conversation.stop:
        body["stop"] = list(conversation.stop)
    if conversation.n > 1:
        body["n"] = conversation.n
    if conversation.logprobs is not None:
        body["logprobs"] = True
        body["top_logprobs"] = conversation.logprobs
    if conversation.cache_key:
        body["prompt_cache_key"] = namespaced(conversation.cache_key, account_tag)
    body |= _images(conversation) | _tuning(conversation) | _reasoning(conversation)
    if conversation.is_stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return msgspec.json.encode(body)


def _tools(conversation: Conversation) -> dict[str, Any]:
    if not conversation.tools:
        return {}
    shown: dict[str, Any] = {"tools": [write_tool(conversation, tool) for tool in conversation.tools]}
    if conversation.tool_choice is not None:
        shown["tool_choice"] = write_tool_choice(conversation.tool_choice)
    if conversation.parallel_tools is not None:
        shown["parallel_tool_calls"] = conversation.parallel_tools
    return shown


def _mark_end(messages: list[Message], mark: dict[str, str]) -> None:
    """A mark on the whole request stands behind the last content that can carry one."""
    for message in reversed(messages):
        content = message.get("content")
        if content:
            parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
            parts[-1].setdefault("cache_control", mark)
            message["content"] = parts
            return


def _images(conversation: Conversation) -> dict[str, Any]:
    if not conversation.makes_images:
        return {}
    config = {"aspect_ratio": conversation.image_aspect, "image_size": conversation.image_size}
    config = {name: value for name, value in config.items() if value}
    return {"modalities": ["image", "text"], **({"image_config": config} if config else {})}


def _tuning(conversation: Conversation) -> dict[str, Any]:
    tuning = conversation.tuning
    values = {
        "temperature": clamp(conversation, "temperature", most=MAX_TEMPERATURE),
        "top_p": tuning.top_p,
        "seed": tuning.seed,
        "presence_penalty": tuning.presence_penalty,
        "frequency_penalty": tuning.frequency_penalty,
        "verbosity": tuning.verbosity or None,
        "user": tuning.user or None,
        "logit_bias": tuning.logit_bias,
    }
    return {name: value for name, value in values.items() if value is not None}


def _reasoning(conversation: Conversation) -> dict[str, Any]:
    """A level is all that this protocol knows; budgets become one."""
    wanted = conversation.reasoning
    if wanted.effort:
        return {"reasoning_effort": wanted.effort}
    if wanted.is_on is False:
        return {"reasoning_effort": "none"}
    if wanted.budget_tokens is not None:
        effort = effort_of(wanted.budget_tokens)
        change(conversation, "reasoning", f"{wanted.budget_tokens} tokens", effort)
        return {"reasoning_effort": effort}
    if wanted.is_on:
        # As the model sees fit: that is what providers of this dialect do unasked.
        leave_out(conversation, "reasoning")
    return {}
