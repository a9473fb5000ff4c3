"""Write the hub's conversation as the body of a Responses request."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.dialects.common.openai_models import efforts_of, is_plain, is_reasoner, knows_custom_tools, seals_reasoning
from apps.dialects.common.upstream import namespaced
from apps.dialects.hub import abilities
from apps.dialects.hub.abilities import Abilities
from apps.dialects.hub.conversation import Conversation, Reasoning, Text, Tool, ToolChoice, Turn
from apps.dialects.hub.effort import effort_of, nearest_effort
from apps.dialects.hub.sent import plain_name, tool_to_send
from apps.dialects.openai_responses.conversation import ENCRYPTED, LOGPROBS
from apps.dialects.openai_responses.input import MAX_NAME_CHARS, ItemWriter

ABILITIES: Final = Abilities(
    meaning=frozenset(
        {"logprobs", "output_format.json", "output_format.schema", "tools.custom", "tool_choice.tool",
         "tool_choice.required", "tool_choice.allowed", "parallel_tools"}
    ),
    tuning=frozenset({"temperature", "top_p", "verbosity", "user", "metadata"}),
)  # fmt: skip
"""What a Responses request can say. It has no stop sequences and no `n`."""

MAX_TEMPERATURE: Final = 2
MIN_OUTPUT_TOKENS: Final = 16
"""Providers refuse less."""
MAX_USER_CHARS: Final = 64
_NO_ARGUMENTS: Final = Raw(b'{"type":"object","properties":{}}')

Fields = dict[str, Any]


def write_conversation(
    conversation: Conversation, *, upstream_model: str, max_tokens: int | None, account_tag: str
) -> bytes:
    """See `UpstreamSide.write_conversation`. Nothing is stored, so reasoning is asked for in its encrypted form."""
    abilities.check(conversation, ABILITIES)
    turns = conversation.turns
    fields: Fields = {"model": upstream_model}
    instructions = _instructions(turns)
    if instructions is not None:
        fields["instructions"] = instructions
        turns = turns[1:]
    fields["input"] = ItemWriter(conversation, upstream_model).write(turns)
    _write_tools(fields, conversation, knows_custom=knows_custom_tools(upstream_model))
    _write_reasoning(fields, conversation, upstream_model)
    _write_text(fields, conversation)
    _write_sampling(fields, conversation, upstream_model)
    _write_limit(fields, conversation, max_tokens)
    include = _include(conversation, upstream_model)
    if include:
        fields["include"] = include
    if conversation.cache_key:
        fields["prompt_cache_key"] = namespaced(conversation.cache_key, account_tag)
    fields["store"] = False
    if conversation.is_stream:
        fields["stream"] = True
    return msgspec.json.encode(fields)


def _instructions(turns: list[Turn]) -> str | None:
    """The first turn, where it is one text of the system's and more follows."""
    if len(turns) < 2 or turns[0].role != "system" or len(turns[0].parts) != 1:
        return None
    only = turns[0].parts[0]
    return only.text if isinstance(only, Text) and only.cache is None else None


def _write_tools(fields: Fields, conversation: Conversation, *, knows_custom: bool) -> None:
    if not conversation.tools:
        return
    tools = [
        tool_to_send(conversation, tool, most_chars=MAX_NAME_CHARS, knows_custom=knows_custom)
        for tool in conversation.tools
    ]
    fields["tools"] = [_tool(tool) for tool in tools]
    if any(tool.cache is not None for tool in tools):
        abilities.leave_out(conversation, "cache")
    if conversation.tool_choice is not None:
        fields["tool_choice"] = _choice(conversation.tool_choice, tools)
    if conversation.parallel_tools is not None:
        fields["parallel_tool_calls"] = conversation.parallel_tools


def _tool(tool: Tool) -> Fields:
    shape: Fields = {"type": "custom" if tool.is_custom else "function", "name": tool.name}
    if tool.description is not None:
        shape["description"] = tool.description
    if tool.is_custom:
        if tool.format is not None:
            shape["format"] = tool.format
        return shape
    shape["parameters"] = tool.schema if tool.schema is not None else _NO_ARGUMENTS
    # Not said, it would mean "strict if possible" here; elsewhere it means that it is not.
    shape["strict"] = bool(tool.is_strict)
    return shape


def _choice(choice: ToolChoice, tools: list[Tool]) -> object:
    customs = {tool.name for tool in tools if tool.is_custom}
    names = [plain_name(name, most=MAX_NAME_CHARS) for name in choice.names]
    chosen = [{"type": "custom" if name in customs else "function", "name": name} for name in names]
    if choice.mode == "tool":
        return chosen[0]
    if choice.mode == "allowed":
        return {"type": "allowed_tools", "mode": "required" if choice.must_call else "auto", "tools": chosen}
    return choice.mode


def _write_reasoning(fields: Fields, conversation: Conversation, upstream_model: str) -> None:
    asked = conversation.reasoning
    wanted, effort, name = _wanted_effort(asked)
    if is_plain(upstream_model):
        if (effort and effort != "none") or asked.is_on:
            abilities.leave_out(conversation, name)
        return
    known = efforts_of(upstream_model)
    if effort and known is not None and effort not in known:
        # Little is not nothing: only who asked for none gets none.
        effort = nearest_effort(effort, known if effort == "none" else [level for level in known if level != "none"])
    if wanted != effort:
        abilities.change(conversation, name, wanted, effort)
    summary = asked.summary if asked.summary != "omitted" else ""
    if asked.is_on and not asked.summary:
        summary = "auto"
    shape = {"effort": effort, "summary": summary}
    if effort or summary:
        fields["reasoning"] = {key: value for key, value in shape.items() if value}


def _wanted_effort(asked: Reasoning) -> tuple[str, str, str]:
    """What the caller said of it, the level that stands for that, and what the hub calls the field."""
    if asked.effort:
        return asked.effort, asked.effort, "effort"
    if asked.is_on is False:
        return "none", "none", "reasoning"
    if asked.budget_tokens is not None:
        return f"{asked.budget_tokens} tokens", effort_of(asked.budget_tokens), "reasoning"
    return "", "", "reasoning"


def _write_text(fields: Fields, conversation: Conversation) -> None:
    text: Fields = {}
    wanted = conversation.output_format
    if wanted is not None and wanted.kind == "json":
        text["format"] = {"type": "json_object"}
    elif wanted is not None:
        shape: Fields = {"type": "json_schema", "name": wanted.name or "answer", "schema": wanted.schema}
        if wanted.description:
            shape["description"] = wanted.description
        if wanted.is_strict is not None:
            shape["strict"] = wanted.is_strict
        text["format"] = shape
    if conversation.tuning.verbosity:
        text["verbosity"] = conversation.tuning.verbosity
    if text:
        fields["text"] = text


def _write_sampling(fields: Fields, conversation: Conversation, upstream_model: str) -> None:
    tuning = conversation.tuning
    samples = not is_reasoner(upstream_model)
    for name in ("temperature", "top_p"):
        value = getattr(tuning, name)
        if value is None:
            continue
        if samples:
            fields[name] = abilities.clamp(conversation, name, most=MAX_TEMPERATURE if name == "temperature" else 1)
        elif value != 1:
            abilities.leave_out(conversation, name)
    if conversation.logprobs is not None:
        fields["top_logprobs"] = conversation.logprobs
    if tuning.user:
        fields["safety_identifier"] = _user(conversation)
    if tuning.metadata is not None:
        fields["metadata"] = tuning.metadata


def _user(conversation: Conversation) -> str:
    user = conversation.tuning.user
    if len(user) <= MAX_USER_CHARS:
        return user
    abilities.note(conversation, f"{conversation.name_of('user')}: replaced by its digest")
    return hashlib.sha256(user.encode()).hexdigest()


def _write_limit(fields: Fields, conversation: Conversation, max_tokens: int | None) -> None:
    most = abilities.max_tokens_of(conversation, max_tokens)
    if most is None:
        return
    if most < MIN_OUTPUT_TOKENS:
        abilities.change(conversation, "max_tokens", most, MIN_OUTPUT_TOKENS)
    fields["max_output_tokens"] = max(most, MIN_OUTPUT_TOKENS)


def _include(conversation: Conversation, upstream_model: str) -> list[str]:
    include = []
    if conversation.wants_encrypted_reasoning or seals_reasoning(upstream_model):
        include.append(ENCRYPTED)
    if conversation.logprobs is not None:
        include.append(LOGPROBS)
    return include
