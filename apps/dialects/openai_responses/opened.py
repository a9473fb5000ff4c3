"""Output items of an upstream's stream while they are told: their hub blocks, and what of them came by now."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Raw

from apps.dialects.hub.conversation import ToolCall
from apps.dialects.hub.events import BlockBegin, BlockEnd, BlockKind, Cited, Delta, HubEvent, Sealed
from apps.dialects.openai_responses import items
from apps.dialects.openai_responses.answer import message_parts

ENDED: Final = -1
"""In place of a block that has ended before its item has."""

CALL: Final = -1
THOUGHT: Final = -2
"""In place of a part's index: what is no part of a message. A stream that mixes them up keeps its blocks apart."""


class Blocks:
    """Numbers the blocks of one stream, and remembers what kinds there were: a response's end does not say."""

    __slots__ = ("count", "has_calls", "has_refusal", "wants_logprobs")

    def __init__(self, *, wants_logprobs: bool) -> None:
        self.wants_logprobs = wants_logprobs
        self.count = 0
        self.has_calls = False
        self.has_refusal = False

    def next(self) -> int:
        self.count += 1
        return self.count - 1


class OpenItem:
    """One output item on its way. A message has a block for each of its parts; a call or a thought has one."""

    __slots__ = ("_all", "blocks", "id", "is_summary", "lengths", "summary_part")

    def __init__(self, blocks: Blocks) -> None:
        self._all = blocks
        self.id = ""
        self.blocks: dict[int, int] = {}
        """By the part's index."""
        self.lengths: dict[int, int] = {}
        """Characters that came of each part by now: what came in pieces is not said again when it comes whole."""
        self.is_summary = False
        self.summary_part = 0

    def begin(self, position: int, kind: BlockKind) -> list[HubEvent]:
        block = self._next(position)
        if kind == "thinking":
            return [BlockBegin(block, kind, id=self.id, is_summary=self.is_summary)]
        if kind == "refusal":
            self._all.has_refusal = True
        return [BlockBegin(block, kind)]

    def begin_call(self, call: ToolCall) -> list[HubEvent]:
        if CALL in self.blocks:
            return []
        self._all.has_calls = True
        return [BlockBegin(self._next(CALL), "tool_call", id=call.id, name=call.name, is_custom=call.is_custom)]

    def say(self, position: int, kind: BlockKind, text: str, logprobs: Any = None) -> list[HubEvent]:
        """More of a part; it begins where nothing announced it."""
        found = [] if position in self.blocks else self.begin(position, kind)
        block = self.blocks[position]
        if block != ENDED and text:
            self.lengths[position] += len(text)
            found.append(Delta(block, text, logprobs=logprobs))
        return found

    def cite(self, position: int, citation: Any) -> list[HubEvent]:
        found = [] if position in self.blocks else self.begin(position, "text")
        block = self.blocks[position]
        return [*found, Cited(block, citation)] if block != ENDED else found

    def finish(self, raw: Raw, call: ToolCall | None) -> list[HubEvent]:
        """End the item: say what of it did not come in pieces."""
        kind = items.HEAD.decode(raw).type
        found: list[HubEvent] = []
        if kind == "message":
            for position, part in enumerate(message_parts(raw)):
                found += self.finish_part(position, part)
        elif call is not None:
            found = self.begin_call(call)
            found += self._rest(CALL, call.arguments)
        elif kind == "reasoning":
            found = self._finish_thought(raw)
        return [*found, *self.close()]

    def finish_part(self, position: int, part: items.Part) -> list[HubEvent]:
        kind: BlockKind = "refusal" if part.type == "refusal" else "text"
        found: list[HubEvent] = []
        if position not in self.blocks:
            found = self.begin(position, kind)
            found += (Cited(self.blocks[position], cited) for cited in part.annotations or ())
        block = self.blocks[position]
        if block == ENDED:
            return found
        found += self._rest(position, (part.refusal if kind == "refusal" else part.text) or "", part.logprobs or None)
        self.blocks[position] = ENDED
        return [*found, BlockEnd(block)]

    def close(self) -> list[HubEvent]:
        return [BlockEnd(block) for block in self.blocks.values() if block != ENDED]

    def _finish_thought(self, raw: Raw) -> list[HubEvent]:
        """The text, where none came; the seal, which comes only now."""
        thought = items.read_reasoning(items.REASONING.decode(raw))
        if thought is None:
            return []
        self.id = self.id or thought.id
        found: list[HubEvent] = []
        if THOUGHT not in self.blocks:
            self.is_summary = thought.is_summary
            found = self.begin(THOUGHT, "thinking")
        found += self._rest(THOUGHT, thought.text)
        if thought.seal is not None:
            found.append(Sealed(self.blocks[THOUGHT], thought.seal))
        return found

    def _rest(self, position: int, text: str, logprobs: Any = None) -> list[HubEvent]:
        if not text or self.lengths[position]:
            return []
        return [Delta(self.blocks[position], text, logprobs=logprobs if self._all.wants_logprobs else None)]

    def _next(self, position: int) -> int:
        block = self.blocks[position] = self._all.next()
        self.lengths[position] = 0
        return block
