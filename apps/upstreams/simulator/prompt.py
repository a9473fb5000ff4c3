"""The hub: a request of any dialect, read as far as the simulator understands it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from apps.upstreams.simulator import directives, script, tokens
from apps.upstreams.simulator.directives import Directives
from apps.upstreams.simulator.script import Step

IMAGE_INPUT_TOKENS: Final = 258
"""What one image in a prompt counts, whatever its size."""

DOCUMENT_INPUT_TOKENS: Final = 1_000
"""What one document without readable text counts."""

MAX_CACHE_MARKS: Final = 4

ASK_CHARS: Final = 8_000
"""How much of a message is searched for wishes: tools, names, numbers, lengths."""

CacheTtl = Literal["5m", "1h"]


class Refusal(Exception):
    """The simulator answers with an error, as a strict provider does."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        self.code = code


@dataclass(frozen=True, slots=True)
class CacheMark:
    """A cache breakpoint: the prompt up to here is worth keeping."""

    offset: int
    ttl: CacheTtl


class Context:
    """Everything the model reads, as one byte string in the provider's order, so that a prefix is a prefix.

    Images and documents stand in it as bytes derived from their data: as many as their tokens, alike for alike data.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0
        self.image_tokens = 0
        self.ends: list[int] = []
        self.marks: list[CacheMark] = []

    def add(self, text: str) -> None:
        self.add_bytes(text.encode())

    def add_bytes(self, part: bytes) -> None:
        self._parts.append(part)
        self.size += len(part)

    def add_image(self, source: str) -> None:
        self._add_opaque(source, IMAGE_INPUT_TOKENS)
        self.image_tokens += IMAGE_INPUT_TOKENS

    def add_document(self, source: str) -> None:
        self._add_opaque(source, DOCUMENT_INPUT_TOKENS)

    def _add_opaque(self, source: str, size_tokens: int) -> None:
        digest = hashlib.blake2b(source.encode(), digest_size=32).digest()
        size = size_tokens * tokens.BYTES_PER_TOKEN
        self.add_bytes((digest * (size // len(digest) + 1))[:size])

    def end_block(self, ttl: CacheTtl | None = None) -> None:
        """A block is complete; with `ttl`, it carries a cache breakpoint."""
        self.ends.append(self.size)
        if ttl is not None:
            self.marks.append(CacheMark(self.size, ttl))

    def mark_end(self, ttl: CacheTtl) -> None:
        """A breakpoint at the end of what was read so far (a top-level `cache_control`)."""
        if not self.marks or self.marks[-1].offset != self.size:
            self.end_block(ttl)

    def content(self) -> bytes:
        return b"".join(self._parts)

    @property
    def tokens(self) -> int:
        return tokens.of_bytes(self.size)


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolChoice:
    mode: Literal["auto", "none", "required"] = "auto"
    name: str | None = None
    """The one tool to call, with mode `required`."""
    is_parallel: bool = True


AUTO: Final = ToolChoice()


@dataclass(frozen=True, slots=True)
class Thinking:
    """How much to think before the answer. `sentences` is more for a greater effort."""

    sentences: int
    is_shown: bool = True


EFFORTS: Final = {"minimal": 1, "low": 2, "medium": 4, "high": 8, "xhigh": 12, "max": 16}
"""Sentences of thought by effort; an effort that we do not know counts as medium."""


def think(effort: object, *, is_shown: bool = True) -> Thinking | None:
    """None for no effort (`none`, or not a word)."""
    if not isinstance(effort, str) or effort == "none":
        return None
    return Thinking(EFFORTS.get(effort, EFFORTS["medium"]), is_shown)


@dataclass(frozen=True, slots=True)
class Canvas:
    """An image to draw: pixels, what it counts in output tokens, and how many."""

    width: int
    height: int
    tokens: int
    n: int = 1
    has_text: bool = True
    """Some words go with the image."""


@dataclass(frozen=True, slots=True)
class Talk:
    """What the simulator answers to: the last user message, and the tool results that came after it."""

    said: str = ""
    """The text of the last user message that has any."""
    ask: str = ""
    """The beginning of its last text block: coding agents put reminders before what the person wrote."""
    turns: int = 0
    """How many such messages there are."""
    results: tuple[str, ...] = ()
    """Tool results at the end of the conversation, waiting for an answer."""
    called: frozenset[str] = frozenset()
    """Names of the tools called since the last user message."""
    script: tuple[Step, ...] = ()
    """The scripted calls that are still to be made."""


@dataclass(frozen=True, slots=True)
class Prompt:
    model: str
    fields: Mapping[str, Any]
    """The whole request, for what only its own dialect's renderer looks at."""
    context: Context
    talk: Talk
    directives: Directives
    is_stream: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = AUTO
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    schema: Mapping[str, Any] | None = None
    """The reply must be JSON that satisfies this; `{}` for any JSON object."""
    thinking: Thinking | None = None
    canvas: Canvas | None = None
    cache_scope: str = ""
    """What shares cached prefixes beside credential and model (`prompt_cache_key`)."""


@dataclass(slots=True)
class Listener:
    """Collects a `Talk` while a dialect walks through its messages in order."""

    _said: list[str] = field(default_factory=list)
    _turns: int = 0
    _results: list[str] = field(default_factory=list)
    _called: set[str] = field(default_factory=set)
    _script: tuple[Step, ...] = ()

    def user_says(self, texts: list[str]) -> None:
        # Agents add reminders of their own to what a person said: a script goes on until there is another one.
        self._script = next((steps for text in texts if (steps := script.read(text))), self._script)
        if any(texts):
            self._said = [text for text in texts if text]
            self._turns += 1
            self._results.clear()
            self._called.clear()

    def assistant_answers(self, called: list[str]) -> None:
        self._results.clear()
        self._called.update(called)
        self._script = self._script[len(called) :]

    def tool_returns(self, text: str) -> None:
        self._results.append(text)

    def heard(self) -> tuple[Talk, Directives]:
        said = "\n".join(self._said)
        return (
            Talk(
                said=_spoken(said),
                ask=_spoken(self._said[-1])[:ASK_CHARS] if self._said else "",
                turns=self._turns,
                results=tuple(self._results),
                called=frozenset(self._called),
                script=self._script,
            ),
            directives.read(said),
        )


def _spoken(text: str) -> str:
    """What there is to answer."""
    return script.remove(directives.remove(text))
