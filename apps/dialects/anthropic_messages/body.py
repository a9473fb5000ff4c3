"""Write a Conversation as the body for an upstream that speaks Messages."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from apps.dialects.anthropic_messages.marks import place_marks
from apps.dialects.anthropic_messages.sampling import write_sampling
from apps.dialects.anthropic_messages.thinking import Wanted, write_thinking
from apps.dialects.anthropic_messages.tools import (
    ANSWER_TOOL,
    answer_tool,
    called_tools,
    write_tool_choice,
    write_tools,
)
from apps.dialects.anthropic_messages.turns import write_turns
from apps.dialects.hub.abilities import Abilities, check, leave_out, max_tokens_of, note, unsupported
from apps.dialects.hub.conversation import Conversation

DEFAULT_MAX_TOKENS: Final = 4_096
"""The protocol demands a maximum; this one where neither the caller nor the grant gives any."""
MAX_USER_CHARS: Final = 256

ABILITIES: Final = Abilities(
    meaning=frozenset(
        {
            "stop", "output_format.json", "output_format.schema", "tools.custom", "tool_choice.tool",
            "tool_choice.required", "tool_choice.allowed", "parallel_tools",
        }
    ),
    tuning=frozenset({"temperature", "top_p", "top_k", "user"}),
)  # fmt: skip
"""What a Messages request can say. `n`, `logprobs` and drawn images it cannot: refused by the caller's name of them."""


def write_conversation(conversation: Conversation, *, upstream_model: str, max_tokens: int | None) -> bytes:
    """See `UpstreamSide.write_conversation`. This dialect has no cache keys, so there is nothing to tag."""
    check(conversation, ABILITIES)
    limit = max_tokens_of(conversation, max_tokens) or DEFAULT_MAX_TOKENS
    system, messages = write_turns(conversation)
    tools = write_tools(conversation)
    choice = write_tool_choice(conversation, has_tools=bool(tools))
    if not tools and (called := called_tools(messages)):
        # The protocol refuses calls in a history whose tools are not declared.
        tools, choice = called, {"type": "none"}
        note(conversation, "tools of earlier calls: declared")
    if conversation.output_format is not None and conversation.output_format.kind == "json":
        if conversation.tools:
            raise unsupported(conversation.name_of("output_format"))
        conversation.answer_tool = ANSWER_TOOL
        tools, choice = [answer_tool()], {"type": "tool", "name": ANSWER_TOOL}
        note(conversation, f"{conversation.name_of('output_format')}: answered through a tool")
    wanted = write_thinking(
        conversation,
        upstream_model=upstream_model,
        max_tokens=limit,
        is_forced=choice is not None and choice["type"] in ("any", "tool"),
        is_unsigned=_is_unsigned(messages),
    )
    place_marks(conversation, tools=tools, system=system, messages=messages)
    body: dict[str, Any] = {"model": upstream_model, "max_tokens": limit}
    if system:
        body["system"] = system
    if tools:
        body["tools"] = tools
    if choice is not None:
        body["tool_choice"] = choice
    if wanted.thinking is not None:
        body["thinking"] = wanted.thinking
    if output_config := _output_config(conversation, wanted):
        body["output_config"] = output_config
    body.update(_ending(conversation))
    body.update(write_sampling(conversation, upstream_model=upstream_model, is_thinking=wanted.is_on))
    body["messages"] = messages
    if conversation.is_stream:
        body["stream"] = True
    return msgspec.json.encode(body)


def _output_config(conversation: Conversation, wanted: Wanted) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if wanted.effort:
        config["effort"] = wanted.effort
    output_format = conversation.output_format
    if output_format is not None and output_format.kind == "schema":
        if output_format.schema is None:
            raise unsupported(conversation.name_of("output_format"))
        config["format"] = {"type": "json_schema", "schema": output_format.schema}
    return config


def _ending(conversation: Conversation) -> dict[str, Any]:
    """Stop sequences, and the end user's id."""
    fields: dict[str, Any] = {}
    if conversation.stop:
        if not all(stop.strip() for stop in conversation.stop):
            raise unsupported(conversation.name_of("stop"))
        fields["stop_sequences"] = conversation.stop
    user = conversation.tuning.user
    if len(user) > MAX_USER_CHARS:
        leave_out(conversation, "user")
    elif user:
        fields["metadata"] = {"user_id": user}
    if conversation.cache_key:
        leave_out(conversation, "cache_key")
    return fields


def _is_unsigned(messages: list[dict[str, Any]]) -> bool:
    """Whether results of tools end the conversation, and the answer that asked for them does not begin with its
    thinking."""
    if len(messages) < 2 or messages[-1]["content"][0]["type"] != "tool_result":
        return False
    return messages[-2]["content"][0]["type"] not in ("thinking", "redacted_thinking")
