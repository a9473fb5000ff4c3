"""A whole reply that belongs to no wire protocol. Each dialect's `answer.py` reads its own into it, and writes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from apps.core.tokens import TokenUsage
from apps.dialects.hub.conversation import Image, Refusal, Text, Thinking, ToolCall

StopReason = Literal["end", "stop_sequence", "length", "tools", "refusal", "filtered", "pause", "other"]
"""Why an answer ended.

end: by itself · stop_sequence: at one of the caller's · length: `max_tokens` or the context · tools: calls are
pending · refusal: the model declined · filtered: the provider cut it · pause: a hosted loop wants to be continued ·
other: what no dialect of ours has a word for; `Ending.native` says it.
"""

AnswerPart = Text | Thinking | Refusal | ToolCall | Image


@dataclass(frozen=True, slots=True)
class Ending:
    """How one choice ended."""

    reason: StopReason
    stop_sequence: str = ""
    native: str = ""
    """The upstream's own word."""
    details: Any = None
    """Messages' `stop_details`, of a refusal."""


@dataclass(slots=True)
class Choice:
    """One of `n` answers, its parts in the order in which they were made."""

    parts: list[AnswerPart]
    ending: Ending
    logprobs: Any = None
    """Chat's and Responses' token list, as it came."""


@dataclass(slots=True)
class Answer:
    """A reply. `failure` is set where a 2xx body is in truth a failure."""

    id: str
    choices: list[Choice] = field(default_factory=list)
    usage: TokenUsage | None = None
    created_s: int = 0
    """Unix seconds; 0: the upstream did not say."""
    failure: str | None = None
