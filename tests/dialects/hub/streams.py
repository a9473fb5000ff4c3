"""An Answer as the events it would have come as, and events as the Answer they make."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from apps.dialects.common.sse import Splitter
from apps.dialects.hub.answer import Answer, AnswerPart, Choice, Ending
from apps.dialects.hub.conversation import Refusal, Text, Thinking, ToolCall
from apps.dialects.hub.events import (
    Begin,
    BlockBegin,
    BlockEnd,
    Delta,
    Done,
    Drawn,
    Ended,
    Failed,
    HubEvent,
    Sealed,
    UsageRead,
)
from apps.dialects.hub.protocol import StreamReader, StreamWriter


def events_of(answer: Answer, *, piece: int = 3) -> list[HubEvent]:
    """The answer as a stream in pieces of so many characters."""
    events: list[HubEvent] = [Begin(answer.id, answer.created_s)]
    for index, choice in enumerate(answer.choices):
        block = 0
        for part in choice.parts:
            if isinstance(part, Text | Thinking | Refusal | ToolCall):
                events += _block(part, block, index, choice.logprobs if isinstance(part, Text) else None, piece)
                block += 1
            else:
                events.append(Drawn(part, index))
    events += [Ended(choice.ending, index) for index, choice in enumerate(answer.choices)]
    if answer.usage is not None:
        events.append(UsageRead(answer.usage))
    return [*events, Done()]


def _block(
    part: Text | Thinking | Refusal | ToolCall, block: int, choice: int, logprobs: Any, piece: int
) -> list[HubEvent]:
    events: list[HubEvent] = []
    text = part.arguments if isinstance(part, ToolCall) else part.text
    match part:
        case ToolCall():
            events.append(BlockBegin(block, "tool_call", choice, part.id, part.name, part.is_custom))
        case Thinking():
            events.append(BlockBegin(block, "thinking", choice, part.id, is_summary=part.is_summary))
        case Refusal():
            events.append(BlockBegin(block, "refusal", choice))
        case _:
            events.append(BlockBegin(block, "text", choice))
    events += [
        Delta(block, text[start : start + piece], choice, logprobs if start == 0 else None)
        for start in range(0, len(text), piece)
    ]
    if isinstance(part, Thinking) and part.seal is not None:
        events.append(Sealed(block, part.seal, choice))
    return [*events, BlockEnd(block, choice)]


class Collector:
    """Puts a stream together again, and checks on the way that it is one: blocks begin once, go on, and end."""

    def __init__(self) -> None:
        self.answer = Answer("")
        self.failure: Failed | None = None
        self.is_done = False
        self._parts: dict[int, list[AnswerPart]] = {}
        self._blocks: dict[tuple[int, int], AnswerPart] = {}
        self._open: set[tuple[int, int]] = set()
        self._logprobs: dict[int, list[Any]] = {}
        self._endings: dict[int, Ending] = {}
        self._has_begun = False

    def take(self, events: Iterable[HubEvent]) -> Collector:
        for event in events:
            assert not self.is_done, f"{event} after Done"
            self._take(event)
        return self

    def collected(self) -> Answer:
        assert not self._open, f"blocks left open: {self._open}"
        for index in sorted(self._parts | self._endings):
            ending = self._endings.get(index, Ending("other", native="never ended"))
            self.answer.choices.append(Choice(self._parts.get(index, []), ending, self._logprobs.get(index)))
        return self.answer

    def _take(self, event: HubEvent) -> None:
        match event:
            case Begin():
                assert not self._has_begun
                self._has_begun = True
                self.answer.id, self.answer.created_s = event.id, event.created_s
            case BlockBegin():
                self._begin(event)
            case Delta():
                self._go_on(event)
            case Sealed():
                part = self._blocks[event.choice, event.block]
                assert isinstance(part, Thinking)
                assert part.seal is None
                part.seal = event.seal
            case BlockEnd():
                self._open.remove((event.choice, event.block))
            case Drawn():
                self._parts.setdefault(event.choice, []).append(event.image)
            case Ended():
                assert event.choice not in self._endings
                self._endings[event.choice] = event.ending
            case UsageRead():
                self.answer.usage = event.usage
            case Failed():
                self.failure = event
            case Done():
                self.is_done = True

    def _begin(self, event: BlockBegin) -> None:
        assert self._has_begun
        key = (event.choice, event.block)
        assert key not in self._blocks
        made: dict[str, AnswerPart] = {
            "text": Text(""),
            "refusal": Refusal(""),
            "thinking": Thinking(is_summary=event.is_summary, id=event.id),
            "tool_call": ToolCall(event.id, event.name, "", event.is_custom),
        }
        self._blocks[key] = made[event.kind]
        self._parts.setdefault(event.choice, []).append(made[event.kind])
        self._open.add(key)

    def _go_on(self, event: Delta) -> None:
        assert (event.choice, event.block) in self._open, f"{event} in a block that is not open"
        part = self._blocks[event.choice, event.block]
        if isinstance(part, ToolCall):
            part.arguments += event.text
        else:
            assert isinstance(part, Text | Thinking | Refusal)
            part.text += event.text
        if event.logprobs:
            self._logprobs.setdefault(event.choice, []).extend(event.logprobs)


def read_stream(reader: StreamReader, stream: bytes) -> Collector:
    """What a reader makes of a whole stream, up to where reading may stop."""
    splitter, collector = Splitter(), Collector()
    for event in [*splitter.feed(stream), *splitter.end()]:
        if event.data:
            collector.take(reader.feed(event))
        if collector.is_done or collector.failure is not None:
            return collector
    return collector.take(reader.end())


def written(writer: StreamWriter, events: Sequence[HubEvent], *, hypereal: bytes = b"{}") -> bytes:
    """The caller's stream, as the relay writes it."""
    usage = next((event.usage for event in events if isinstance(event, UsageRead)), None)
    shown = [event for event in events if not isinstance(event, UsageRead | Done | Failed)]
    return b"".join(writer.write(event) for event in shown) + writer.finish(usage=usage, hypereal=hypereal)
