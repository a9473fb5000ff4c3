"""Which of the offered tools to call, and with what: those the person asked for, or those the request demands."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from apps.upstreams.simulator import schema
from apps.upstreams.simulator.prompt import Prompt, Tool

MAX_CALLS: Final = 8
VERB_WITHIN_CHARS: Final = 60
"""How far before a tool's name the verb may stand for the name to be an order."""

_VERB: Final = re.compile(r"\b(?:use|call|invoke|run|using)\b", re.IGNORECASE)
_ANY_TOOL: Final = re.compile(r"\b(?:use|call|invoke|run)\s(?:[a-z]+\s){0,3}tools?\b", re.IGNORECASE)
_TWO: Final = re.compile(r"\b(?:twice|both|two times|in parallel)\b", re.IGNORECASE)
_decoder: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: str
    """A JSON object as text."""


def choose(prompt: Prompt) -> tuple[Call, ...]:
    """The calls to make; none where the answer is text."""
    if not prompt.tools or prompt.tool_choice.mode == "none":
        return ()
    if prompt.talk.script and (scripted := _scripted(prompt)):
        return scripted
    if prompt.tool_choice.mode == "required":
        wanted = _demanded(prompt)
    elif prompt.talk.results:
        return ()
    else:
        wanted = _asked_for(prompt.talk.ask, prompt.tools)
    if len(wanted) == 1 and _TWO.search(prompt.talk.ask):
        wanted *= 2
    if not prompt.tool_choice.is_parallel:
        wanted = wanted[:1]
    return tuple(Call(tool.name, _arguments(tool, prompt, turn=turn)) for turn, tool in enumerate(wanted[:MAX_CALLS]))


def _scripted(prompt: Prompt) -> tuple[Call, ...]:
    """The next step of the script, where its tool is offered: helpers of an agent see the prompt, but not the tools."""
    step = prompt.talk.script[0]
    tool = next((tool for tool in prompt.tools if tool.name == step.tool), None)
    if tool is None:
        return ()
    if step.arguments is None:
        return (Call(tool.name, _arguments(tool, prompt, turn=0)),)
    return (Call(tool.name, msgspec.json.encode(step.arguments).decode()),)


def _demanded(prompt: Prompt) -> list[Tool]:
    """A demand is met by tools that were not called yet since the person spoke, so that no agent loops for ever."""
    name = prompt.tool_choice.name
    fresh = [
        tool for tool in prompt.tools if tool.name not in prompt.talk.called and (name is None or tool.name == name)
    ]
    if name is not None:
        return fresh[:1]
    return _asked_for(prompt.talk.ask, tuple(fresh)) or fresh[:1]


def _asked_for(ask: str, tools: tuple[Tool, ...]) -> list[Tool]:
    """The tools that the text names after a verb, in its order; the first tool where it just says "use a tool"."""
    places = []
    for tool in tools:
        place = ask.find(tool.name)
        if place >= 0 and _VERB.search(ask, max(0, place - VERB_WITHIN_CHARS), place):
            places.append((place, tool))
    if places:
        # `get_weather` is found inside `get_weather_history` too: of two at one place, the longer name is meant.
        places.sort(key=lambda found: (-found[0], len(found[1].name)))
        return list(dict(places).values())[::-1]
    return [tools[0]] if tools and _ANY_TOOL.search(ask) else []


def _arguments(tool: Tool, prompt: Prompt, *, turn: int) -> str:
    ask = prompt.talk.ask
    given = _given(ask, tool.name)
    if given is not None:
        return msgspec.json.encode(given).decode()
    names = frozenset(tool.name for tool in prompt.tools)
    made = schema.instance({"type": "object", **tool.schema}, schema.gather(ask, without=names, skip=turn))
    return msgspec.json.encode(made).decode()


def _given(ask: str, name: str) -> dict[str, Any] | None:
    """Arguments that the person wrote out: the first JSON object after the tool's name."""
    start = ask.find("{", ask.find(name) + len(name)) if name in ask else -1
    if start < 0:
        return None
    try:
        value, _end = _decoder.raw_decode(ask, start)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
