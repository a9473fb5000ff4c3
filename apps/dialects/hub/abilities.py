"""What each dialect's requests can say, as data; what happens to what they cannot (SPEC 2.8).

The table of a pair (caller's dialect, upstream's dialect) is what the first can ask for less what the second can say:
of *meaning*, the call is refused with the caller's own name of the field; of *tuning* and *hosted extras*, it goes
without, and X-Hypereal-Adapted names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from apps.dialects.common.notes import MAX_NOTES, fit
from apps.dialects.hub.conversation import Conversation
from apps.dialects.protocol import UnsupportedField

MEANING: Final[Mapping[str, Callable[[Conversation], bool]]] = {
    "stop": lambda asked: bool(asked.stop),
    "n": lambda asked: asked.n > 1,
    "logprobs": lambda asked: asked.logprobs is not None,
    "output_format.json": lambda asked: asked.output_format is not None and asked.output_format.kind == "json",
    "output_format.schema": lambda asked: asked.output_format is not None and asked.output_format.kind == "schema",
    "tools.custom": lambda asked: any(tool.is_custom for tool in asked.tools),
    "tool_choice.tool": lambda asked: asked.tool_choice is not None and asked.tool_choice.mode == "tool",
    "tool_choice.required": lambda asked: asked.tool_choice is not None and asked.tool_choice.mode == "required",
    "tool_choice.allowed": lambda asked: asked.tool_choice is not None and asked.tool_choice.mode == "allowed",
    "parallel_tools": lambda asked: asked.parallel_tools is False and bool(asked.tools),
    "makes_images": lambda asked: asked.makes_images,
}
"""Each feature of the meaning, and whether a conversation asks for it. What parts a turn may have is up to writers."""

TUNING: Final = (
    "temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty", "verbosity", "user", "metadata",
    "logit_bias",
)  # fmt: skip
"""The fields of `Tuning`."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What requests of one dialect can say: names out of `MEANING` and `TUNING`."""

    meaning: frozenset[str]
    tuning: frozenset[str]


def check(conversation: Conversation, abilities: Abilities) -> None:
    """Refuse the meaning that the target has no word for; note the tuning and the extras that it goes without.

    Raises: UnsupportedField.
    """
    for feature, asks in MEANING.items():
        if feature not in abilities.meaning and asks(conversation):
            raise unsupported(conversation.name_of(feature.partition(".")[0]))
    for feature in TUNING:
        if feature not in abilities.tuning and getattr(conversation.tuning, feature) not in (None, ""):
            leave_out(conversation, feature)
    for name in conversation.unread:
        note(conversation, f"{name}: left out")


def has_mark(conversation: Conversation, *, ttl: str | None = None) -> bool:
    """Whether the caller set a cache mark anywhere, with that lifetime where one is named."""
    parts = (part for turn in conversation.turns for part in turn.parts)
    holders: list[Any] = [conversation, *conversation.tools, *parts]
    marks = (getattr(holder, "cache", None) for holder in holders)
    return any(mark is not None and ttl in (None, mark.ttl) for mark in marks)


def note_marks(conversation: Conversation) -> None:
    """Note that cache marks are left out, where there are any: the provider caches by itself."""
    if has_mark(conversation):
        note(conversation, "cache_control: left out")


def unsupported(field: str) -> UnsupportedField:
    """The refusal of a part of the meaning; `field` as the caller knows it (`stop`, `messages[3].content[1]`)."""
    return UnsupportedField(f"`{field}` cannot be said in the protocol that this model's provider speaks.", param=field)


def note(conversation: Conversation, line: str) -> None:
    """One adaptation, fit for a header: `temperature: 1.4 -> 1`."""
    if len(conversation.adapted) < MAX_NOTES:
        shown = fit(line)
        if shown not in conversation.adapted:
            conversation.adapted.append(shown)


def leave_out(conversation: Conversation, feature: str) -> None:
    note(conversation, f"{conversation.name_of(feature)}: left out")


def change(conversation: Conversation, feature: str, old: object, new: object) -> None:
    note(conversation, f"{conversation.name_of(feature)}: {old} -> {new}")


def clamp(conversation: Conversation, feature: str, *, most: float) -> Any:
    """A tuning's value, no larger than `most`; a larger one is noted."""
    value = getattr(conversation.tuning, feature)
    if value is None or value <= most:
        return value
    change(conversation, feature, f"{value:g}", f"{most:g}")
    return most


def max_tokens_of(conversation: Conversation, granted: int | None) -> int | None:
    """The maximum that goes upstream: the caller's own, no more than what the hold pays for."""
    own = conversation.max_tokens
    if granted is None or own is None:
        return own if granted is None else granted
    return min(own, granted)
