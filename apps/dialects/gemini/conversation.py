"""A Conversation as a generateContent request."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from apps.dialects.gemini.contents import MAX_NAME_CHARS, Writer
from apps.dialects.hub.abilities import (
    MEANING,
    Abilities,
    change,
    check,
    clamp,
    leave_out,
    max_tokens_of,
    note_marks,
)
from apps.dialects.hub.conversation import Conversation, Tool, ToolChoice
from apps.dialects.hub.effort import nearest_effort
from apps.dialects.hub.sent import plain_name, tool_to_send

ABILITIES: Final = Abilities(
    # That only one tool may be called at a time cannot be said; clients that ask for it take several all the same.
    meaning=frozenset(MEANING),
    tuning=frozenset({"temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty"}),
)
MAX_TEMPERATURE: Final = 2.0
LEVELS: Final = ("minimal", "low", "medium", "high")

Shown = dict[str, Any]


def write_conversation(conversation: Conversation, *, max_tokens: int | None) -> bytes:
    """See `UpstreamSide.write_conversation`. The model and whether to stream stand in the path."""
    check(conversation, ABILITIES)
    note_marks(conversation)
    writer = Writer(conversation)
    body: Shown = {"contents": writer.write()}
    if writer.system:
        body["systemInstruction"] = {"parts": writer.system}
    body |= _tools(conversation)
    body["generationConfig"] = _config(conversation, max_tokens)
    return msgspec.json.encode(body)


def path_of(upstream_model: str, *, is_stream: bool) -> str:
    return f"/models/{upstream_model}:" + ("streamGenerateContent?alt=sse" if is_stream else "generateContent")


def _tools(conversation: Conversation) -> Shown:
    tools, choice = conversation.tools, conversation.tool_choice
    if not tools:
        return {}
    if conversation.parallel_tools is False:
        leave_out(conversation, "parallel_tools")
    if choice is not None and choice.mode == "allowed":
        # A list of allowed functions says that one must be called: where none has to, only they are declared.
        tools = [tool for tool in tools if tool.name in choice.names]
    declared = [_function(conversation, tool) for tool in tools]
    shown: Shown = {"tools": [{"functionDeclarations": declared}]}
    if choice is not None:
        shown["toolConfig"] = {"functionCallingConfig": _calling(choice)}
    return shown


def _function(conversation: Conversation, tool: Tool) -> Shown:
    sent = tool_to_send(conversation, tool, most_chars=MAX_NAME_CHARS)
    shown: Shown = {"name": sent.name, "description": sent.description or ""}
    if sent.schema is not None:
        shown["parametersJsonSchema"] = sent.schema
    return shown


def _calling(choice: ToolChoice) -> Shown:
    if choice.mode in ("auto", "none"):
        return {"mode": choice.mode.upper()}
    if choice.mode == "required":
        return {"mode": "ANY"}
    if choice.mode == "allowed" and not choice.must_call:
        return {"mode": "AUTO"}
    return {"mode": "ANY", "allowedFunctionNames": [plain_name(name, most=MAX_NAME_CHARS) for name in choice.names]}


def _config(conversation: Conversation, max_tokens: int | None) -> Shown:
    tuning = conversation.tuning
    config: Shown = {
        "maxOutputTokens": max_tokens_of(conversation, max_tokens),
        "temperature": clamp(conversation, "temperature", most=MAX_TEMPERATURE),
        "topP": tuning.top_p,
        "topK": tuning.top_k,
        "seed": tuning.seed,
        "presencePenalty": tuning.presence_penalty,
        "frequencyPenalty": tuning.frequency_penalty,
        "stopSequences": list(conversation.stop) or None,
        "candidateCount": conversation.n if conversation.n > 1 else None,
        "thinkingConfig": _thinking(conversation),
    }
    if conversation.logprobs is not None:
        config |= {"responseLogprobs": True, "logprobs": conversation.logprobs}
    if conversation.output_format is not None:
        config |= {"responseMimeType": "application/json", "responseJsonSchema": conversation.output_format.schema}
    config |= _modalities(conversation)
    return {name: value for name, value in config.items() if value is not None}


def _modalities(conversation: Conversation) -> Shown:
    """Images only where the caller asked for them: what was not asked for was not paid for beforehand."""
    if not conversation.makes_images:
        return {"responseModalities": ["TEXT"]}
    image = {"aspectRatio": conversation.image_aspect, "imageSize": conversation.image_size}
    image = {name: value for name, value in image.items() if value}
    return {"responseModalities": ["TEXT", "IMAGE"], "imageConfig": image or None}


def _thinking(conversation: Conversation) -> Shown | None:
    """A level is said as a level, a budget as a budget: models that know only one of them refuse the other's word."""
    wanted = conversation.reasoning
    if wanted.effort == "none" or (wanted.is_on is False and not wanted.effort):
        return {"thinkingBudget": 0}
    shown: Shown = {}
    if wanted.budget_tokens is not None:
        shown["thinkingBudget"] = wanted.budget_tokens
    elif wanted.effort:
        level = nearest_effort(wanted.effort, LEVELS)
        if level != wanted.effort:
            change(conversation, "reasoning", wanted.effort, level)
        shown["thinkingLevel"] = level
    elif not wanted.is_on:
        return None
    return {**shown, "includeThoughts": wanted.summary != "omitted"}
