"""Write a Conversation as the body for an upstream that speaks Messages."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from apps.dialects.anthropic_messages.marks import place_marks
from apps.dialects.anthropic_messages.thinking import Wanted, version_of, write_thinking
from apps.dialects.anthropic_messages.tools import ANSWER_TOOL, answer_tool, write_tool_choice, write_tools
from apps.dialects.anthropic_messages.turns import write_turns
from apps.dialects.hub.abilities import Abilities, check, clamp, leave_out, max_tokens_of, note, unsupported
from apps.dialects.hub.conversation import Conversation

DEFAULT_MAX_TOKENS: Final = 4_096
"""The protocol demands a maximum; this one where neither the caller nor the grant gives any."""
MAX_USER_CHARS: Final = 256
MIN_TOP_P_THINKING: Final = 0.95
ONE_OF_TWO_SINCE: Final = (4, 1)
"""Claude models from here on refuse `temperature` and `top_p` together."""

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
    if conversation.output_format is not None and conversation.output_format.kind == "json":
        if tools:
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
    body.update(_sampling(conversation, wanted, takes_one=version_of(upstream_model) >= ONE_OF_TWO_SINCE))
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


def _sampling(conversation: Conversation, wanted: Wanted, *, takes_one: bool) -> dict[str, Any]:
    """Stop sequences, the end user, and how the answer is drawn: thinking leaves little choice there."""
    fields: dict[str, Any] = {}
    if conversation.stop:
        if not all(stop.strip() for stop in conversation.stop):
            raise unsupported(conversation.name_of("stop"))
        fields["stop_sequences"] = conversation.stop
    tuning = conversation.tuning
    if wanted.is_on:
        _keep_or_leave(conversation, fields, "temperature", keeps=tuning.temperature == 1)
        _keep_or_leave(conversation, fields, "top_p", keeps=(tuning.top_p or 0) >= MIN_TOP_P_THINKING)
        _keep_or_leave(conversation, fields, "top_k", keeps=False)
    else:
        fields["temperature"] = clamp(conversation, "temperature", most=1)
        fields["top_p"] = tuning.top_p
        fields["top_k"] = tuning.top_k
        if takes_one and tuning.temperature is not None and tuning.top_p is not None:
            _choose_one(conversation, fields)
    if tuning.user:
        if len(tuning.user) > MAX_USER_CHARS:
            leave_out(conversation, "user")
        else:
            fields["metadata"] = {"user_id": tuning.user}
    if conversation.cache_key:
        leave_out(conversation, "cache_key")
    return {name: value for name, value in fields.items() if value is not None}


def _keep_or_leave(conversation: Conversation, fields: dict[str, Any], name: str, *, keeps: bool) -> None:
    value = getattr(conversation.tuning, name)
    if value is None:
        return
    if keeps:
        fields[name] = value
    else:
        leave_out(conversation, name)


def _choose_one(conversation: Conversation, fields: dict[str, Any]) -> None:
    """Of two that are given, the one that says something: 1 is what both are without being given."""
    if fields["temperature"] == 1:
        del fields["temperature"]
        return
    if fields.pop("top_p") != 1:
        leave_out(conversation, "top_p")


def _is_unsigned(messages: list[dict[str, Any]]) -> bool:
    """Whether results of tools end the conversation, and the answer that asked for them does not begin with its
    thinking."""
    if len(messages) < 2 or messages[-1]["content"][0]["type"] != "tool_result":
        return False
    return messages[-2]["content"][0]["type"] not in ("thinking", "redacted_thinking")
