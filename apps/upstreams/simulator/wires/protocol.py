"""What every dialect of the simulator gives: requests into the hub, the hub's answer out again."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from apps.core.tokens import TokenUsage
from apps.upstreams.simulator.answer import Answer
from apps.upstreams.simulator.prompt import Prompt, Refusal
from apps.upstreams.simulator.reply import Frame


@dataclass(frozen=True, slots=True)
class Speech:
    """All there is to render: the request, its choices, and what they used (None where no usage is to be told)."""

    prompt: Prompt
    answers: tuple[Answer, ...]
    usage: TokenUsage | None
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    created_at: int = field(default_factory=lambda: int(time.time()))

    @property
    def answer(self) -> Answer:
        """The first choice: the only one in dialects without `n`."""
        return self.answers[0]


@dataclass(frozen=True, slots=True)
class Request:
    """A call as it came in: its JSON body, its headers (lower case), and what its path says beside."""

    fields: dict[str, Any]
    headers: Mapping[str, str]
    model: str = ""
    is_stream: bool = False


class Wire(Protocol):
    caches_by_itself: bool
    """Prompts are cached without being marked."""

    def read(self, request: Request) -> Prompt:
        """Read a request.

        Raises: Refusal, as a strict provider would.
        """

    def plain(self, speech: Speech) -> dict[str, Any]:
        """The body of a plain reply."""

    def stream(self, speech: Speech) -> Iterable[Frame]:
        """A streamed reply, up to and with its last frame."""

    def refuse(self, refusal: Refusal) -> dict[str, Any]:
        """The body of an error."""

    def fail(self, speech: Speech) -> tuple[int, dict[str, Any]]:
        """Status and body of a plain call that went wrong on the provider's side."""

    def break_off(self, speech: Speech, *, sent: int) -> Iterable[Frame]:
        """What ends a stream that goes wrong after `sent` frames."""


OVERLOADED = "The simulator was told to be overloaded."
FAILED = "The simulator was told to fail."
REFUSED = "The simulator was told to answer with this status."


def short_id(prefix: str, speech: Speech, place: int = 0) -> str:
    """An id in the provider's style: the reply's own id and a position."""
    return f"{prefix}{speech.id[:24]}{place:02d}"
