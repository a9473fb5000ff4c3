"""A Conversation as the chat request that goes upstream."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from apps.dialects.common.fit import NEUTRAL
from apps.dialects.common.openai_models import efforts_of, is_plain, is_reasoner, marks_cache, version_of
from apps.dialects.common.upstream import namespaced
from apps.dialects.hub.abilities import (
    MEANING,
    TUNING,
    Abilities,
    change,
    check,
    clamp,
    has_mark,
    leave_out,
    max_tokens_of,
    note_marks,
)
from apps.dialects.hub.conversation import CacheMark, Conversation
from apps.dialects.hub.effort import effort_of, nearest_effort
from apps.dialects.openai_chat.messages import Message, Writer
from apps.dialects.openai_chat.parts import HALF_DAY, HOUR, Marks, put_mark
from apps.dialects.openai_chat.tools import write_output_format, write_tool, write_tool_choice

ABILITIES: Final = Abilities(
    meaning=frozenset(MEANING),
    # `metadata` is refused by providers unless the reply is stored; `top_k` is no word of this protocol.
    tuning=frozenset(TUNING) - {"top_k", "metadata"},
)
MAX_TEMPERATURE: Final = 2.0
CUSTOM_TOOLS_SINCE: Final = (5, 0)
"""OpenAI's models that take tools of free text; to others they are functions."""


def write_conversation(
    conversation: Conversation, *, upstream_model: str, max_tokens: int | None, account_tag: str
) -> bytes:
    """See `UpstreamSide.write_conversation`."""
    check(conversation, ABILITIES)
    marks = marks_of(conversation, upstream_model)
    if marks == "none":
        note_marks(conversation)
    elif marks == "prompt_cache_breakpoint" and has_mark(conversation, ttl=HOUR):
        change(conversation, "cache", HOUR, HALF_DAY)
    knows_custom = (version_of(upstream_model) or (0, 0)) >= CUSTOM_TOOLS_SINCE
    messages = Writer(conversation, marks=marks, knows_custom=knows_custom).write()
    _mark_end(messages, conversation.cache, marks)
    body: dict[str, Any] = {"model": upstream_model, "messages": messages}
    limit = max_tokens_of(conversation, max_tokens)
    if limit is not None:
        # OpenAI's reasoning models refuse the name that all other providers of this protocol know.
        body["max_completion_tokens" if is_reasoner(upstream_model) else "max_tokens"] = limit
    body |= _tools(conversation, marks=marks, knows_custom=knows_custom)
    if conversation.output_format is not None:
        body["response_format"] = write_output_format(conversation.output_format)
    if conversation.stop:
        body["stop"] = list(conversation.stop)
    if conversation.n > 1:
        body["n"] = conversation.n
    if conversation.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": conversation.logprobs}
    if conversation.cache_key:
        body["prompt_cache_key"] = namespaced(conversation.cache_key, account_tag)
    body |= _images(conversation) | _tuning(conversation, upstream_model) | _reasoning(conversation, upstream_model)
    if conversation.is_stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return msgspec.json.encode(body)


def marks_of(conversation: Conversation, upstream_model: str) -> Marks:
    """OpenAI's models have a word of their own for a breakpoint, or none; others know Anthropic's."""
    if not conversation.keeps_cache_marks:
        return "none"
    if is_reasoner(upstream_model) or is_plain(upstream_model):
        return "prompt_cache_breakpoint" if marks_cache(upstream_model) else "none"
    return "cache_control"


def _tools(conversation: Conversation, *, marks: Marks, knows_custom: bool) -> dict[str, Any]:
    tools = conversation.tools
    if not tools:
        return {}
    shown: dict[str, Any] = {
        "tools": [write_tool(conversation, tool, marks=marks, knows_custom=knows_custom) for tool in tools]
    }
    if conversation.tool_choice is not None:
        shown["tool_choice"] = write_tool_choice(conversation.tool_choice, tools, knows_custom=knows_custom)
    if conversation.parallel_tools is not None:
        shown["parallel_tool_calls"] = conversation.parallel_tools
    return shown


def _mark_end(messages: list[Message], mark: CacheMark | None, marks: Marks) -> None:
    """A mark on the whole request stands behind the last content that can carry one."""
    message = next((message for message in reversed(messages) if message.get("content")), None)
    if mark is None or message is None or marks == "none":
        return
    content = message["content"]
    parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if marks not in parts[-1]:
        put_mark(parts[-1], mark, marks)
    message["content"] = parts


def _images(conversation: Conversation) -> dict[str, Any]:
    if not conversation.makes_images:
        return {}
    config = {"aspect_ratio": conversation.image_aspect, "image_size": conversation.image_size}
    config = {name: value for name, value in config.items() if value}
    return {"modalities": ["image", "text"], **({"image_config": config} if config else {})}


def _tuning(conversation: Conversation, upstream_model: str) -> dict[str, Any]:
    tuning = conversation.tuning
    values = {
        "temperature": clamp(conversation, "temperature", most=MAX_TEMPERATURE),
        "top_p": tuning.top_p,
        "presence_penalty": tuning.presence_penalty,
        "frequency_penalty": tuning.frequency_penalty,
        "logit_bias": tuning.logit_bias,
    }
    values = {name: value for name, value in values.items() if value is not None}
    if is_reasoner(upstream_model):
        # They sample in one way only, and refuse to be told another.
        for name, value in values.items():
            if value != NEUTRAL.get(name):
                leave_out(conversation, name)
        values = {}
    more = {"seed": tuning.seed, "verbosity": tuning.verbosity or None, "user": tuning.user or None}
    return {**values, **{name: value for name, value in more.items() if value is not None}}


def _reasoning(conversation: Conversation, upstream_model: str) -> dict[str, Any]:
    """A level is all that this protocol knows; budgets become one."""
    asked = conversation.reasoning
    said, effort = asked.effort, asked.effort
    if not effort and asked.is_on is False:
        said = effort = "none"
    elif not effort and asked.budget_tokens is not None:
        said, effort = f"{asked.budget_tokens} tokens", effort_of(asked.budget_tokens)
    if is_plain(upstream_model) or not effort:
        # As the model sees fit: that is what providers of this dialect do unasked.
        if asked.is_on or effort not in ("", "none"):
            leave_out(conversation, "reasoning")
        return {}
    known = efforts_of(upstream_model)
    if known is not None and effort not in known:
        # Little is not nothing: only who asked for none gets none.
        effort = nearest_effort(effort, known if effort == "none" else [level for level in known if level != "none"])
    if said != effort:
        change(conversation, "reasoning", said, effort)
    return {"reasoning_effort": effort}
