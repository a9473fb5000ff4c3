"""Read a Responses request into the hub's conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from apps.dialects.common.json_body import (
    NULL,
    first_byte,
    given,
    nested,
    read,
    read_count,
    read_flag,
    read_text,
)
from apps.dialects.hub.conversation import Conversation, OutputFormat, Reasoning, Text, Tuning, Turn
from apps.dialects.openai_responses.tools import Offer, read_choice
from apps.dialects.openai_responses.turns import TurnReader, offer_more
from apps.dialects.protocol import InvalidRequest, Request, UnsupportedField

MAX_LOGPROBS: Final = 20

NAMES: Final = {
    "max_tokens": "max_output_tokens",
    "output_format": "text.format",
    "parallel_tools": "parallel_tool_calls",
    "logprobs": "top_logprobs",
    "verbosity": "text.verbosity",
    "effort": "reasoning.effort",
    "summary": "reasoning.summary",
    "cache_key": "prompt_cache_key",
}
"""What the hub's features are called here, where that differs."""

_READ: Final = frozenset(
    {"model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "max_output_tokens", "text",
     "reasoning", "include", "temperature", "top_p", "top_logprobs", "metadata", "user", "safety_identifier",
     "prompt_cache_key", "stream", "presence_penalty", "frequency_penalty", "stop", "n"}
)  # fmt: skip
_MEANINGLESS: Final = frozenset(
    {"stream_options", "store", "service_tier", "background", "max_tool_calls", "client_metadata", "speed",
     "inference_geo"}
)  # fmt: skip
"""Fields that say nothing to another protocol's provider: `parse` let through only values that change nothing."""

CHAT_MAXIMA: Final = frozenset({"max_tokens", "max_completion_tokens"})
"""Chat's names of the maximum, which its `parse` reads where such a body is posted there."""

_ECHOED: Final = (
    "instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "prompt_cache_key", "reasoning",
    "safety_identifier", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "user",
)  # fmt: skip
Fields = Mapping[str, Raw]

ENCRYPTED: Final = "reasoning.encrypted_content"
LOGPROBS: Final = "message.output_text.logprobs"

_NUMBER: Final = msgspec.json.Decoder(float)
_FLAG: Final = msgspec.json.Decoder(bool)
_WORDS: Final = msgspec.json.Decoder(list[str])
_STOP: Final = msgspec.json.Decoder(str | list[str])


class _Format(msgspec.Struct):
    type: str = "text"
    name: str | None = None
    description: str | None = None
    schema: Raw = NULL
    strict: bool | None = None


_FORMAT: Final = msgspec.json.Decoder(_Format)


def read_conversation(request: Request) -> Conversation:
    """See `CallerSide.read_conversation`."""
    fields = request.fields
    offer = _read_offer(fields)
    reader = TurnReader(offer)
    instructions = _instructions(fields)
    if instructions is not None:
        reader.turns.append(instructions)
    reader.read(fields["input"])
    choice = given(fields, "tool_choice")
    include = _words(fields, "include")
    text = nested(fields, "text")
    if (read_count(fields, "n") or 1) > 1:
        raise UnsupportedField("`n` must be 1: a response is one answer.", param="n")
    user = "safety_identifier" if given(fields, "safety_identifier") is not None else "user"
    return Conversation(
        reader.turns,
        offer.tools,
        tool_choice=read_choice(choice, offer) if choice is not None and offer.tools else None,
        parallel_tools=_flag(fields, "parallel_tool_calls"),
        output_format=_output_format(text),
        max_tokens=request.max_tokens,
        stop=_stop(fields),
        reasoning=_reasoning(nested(fields, "reasoning")),
        tuning=_tuning(fields, text, user),
        logprobs=_logprobs(fields, include),
        is_stream=request.is_stream,
        cache_key=request.cache_key or "",
        wants_encrypted_reasoning=ENCRYPTED in include,
        names={**NAMES, "user": user},
        unread=(*offer.left_out, *reader.left_out, *_unread(request)),
        echo={name: fields[name] for name in _ECHOED if name in fields},
    )


def _read_offer(fields: Fields) -> Offer:
    offer = Offer()
    tools = given(fields, "tools")
    if tools is not None:
        offer.add(tools, "tools")
    offer_more(fields["input"], offer)
    offer.settle()
    return offer


def _instructions(fields: Fields) -> Turn | None:
    """A string; items where they come from a template, which `parse` refuses."""
    raw = given(fields, "instructions")
    if raw is None:
        return None
    text = read_text(fields, "instructions")
    return Turn("system", [Text(text)], field="instructions") if text else None


def _output_format(text: Fields) -> OutputFormat | None:
    raw = given(text, "format")
    if raw is None:
        return None
    shape = read(_FORMAT, raw, "text.format", "an object with a `type`")
    if shape.type == "text":
        return None
    if shape.type == "json_object":
        return OutputFormat("json")
    if shape.type != "json_schema":
        raise UnsupportedField(
            f"`text.format.type` {shape.type!r} cannot be said in the protocol of this model's provider.",
            param="text.format.type",
        )
    if first_byte(shape.schema) != b"{":
        raise InvalidRequest("`text.format.schema` must be an object.", param="text.format.schema")
    return OutputFormat("schema", shape.schema, shape.name or "", shape.description or "", shape.strict)


def _stop(fields: Fields) -> tuple[str, ...]:
    """No field of this protocol, but said by clients that know others: never dropped in silence."""
    raw = given(fields, "stop")
    if raw is None:
        return ()
    stop = read(_STOP, raw, "stop", "a string or a list of strings")
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _reasoning(fields: Fields) -> Reasoning:
    effort = read_text(fields, "effort") or ""
    summary = read_text(fields, "summary") or read_text(fields, "generate_summary") or ""
    return Reasoning(effort=effort, summary=summary)


def _tuning(fields: Fields, text: Fields, user: str) -> Tuning:
    return Tuning(
        temperature=_number(fields, "temperature"),
        top_p=_number(fields, "top_p"),
        presence_penalty=_number(fields, "presence_penalty"),
        frequency_penalty=_number(fields, "frequency_penalty"),
        verbosity=read_text(text, "verbosity") or "",
        user=read_text(fields, user) or "",
        metadata=_object(fields, "metadata"),
    )


def _logprobs(fields: Fields, include: list[str]) -> int | None:
    top = read_count(fields, "top_logprobs", least=0, most=MAX_LOGPROBS)
    return (top or 0) if top or LOGPROBS in include else None


def _unread(request: Request) -> list[str]:
    fields = request.fields
    read_before = _READ if request.written_in is None else _READ | CHAT_MAXIMA
    unknown = [name for name in fields if name not in read_before and name not in _MEANINGLESS and given(fields, name)]
    if "truncation" in unknown and read_text(fields, "truncation") == "disabled":
        unknown.remove("truncation")
    return unknown


def _number(fields: Fields, name: str) -> float | None:
    raw = given(fields, name)
    return None if raw is None else read(_NUMBER, raw, name, "a number")


def _flag(fields: Fields, name: str) -> bool | None:
    return None if given(fields, name) is None else read_flag(fields, name)


def _words(fields: Fields, name: str) -> list[str]:
    raw = given(fields, name)
    return [] if raw is None else read(_WORDS, raw, name, "a list of strings")


def _object(fields: Fields, name: str) -> Raw | None:
    """An object that says something."""
    raw = given(fields, name)
    if raw is None or not nested(fields, name):
        return None
    return raw
