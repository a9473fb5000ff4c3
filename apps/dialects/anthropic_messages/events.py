"""An upstream's Messages stream as hub events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.dialects.anthropic_messages.endings import read_ending
from apps.dialects.anthropic_messages.sealed import signed
from apps.dialects.anthropic_messages.usage import UsageMeter
from apps.dialects.common.json_body import NULL, is_null
from apps.dialects.common.scrub import failure_message, is_overload
from apps.dialects.common.sse import Event
from apps.dialects.hub.events import (
    Begin,
    BlockBegin,
    BlockEnd,
    BlockKind,
    Cited,
    Delta,
    Done,
    Ended,
    Failed,
    HubEvent,
    Sealed,
    UsageRead,
)
from apps.dialects.hub.reasoning import ANTHROPIC, ENCRYPTED, Seal


class _Delta(msgspec.Struct, gc=False):
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    citation: Any = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None


class _Block(msgspec.Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: Raw = NULL


class _Message(msgspec.Struct):
    id: str = ""
    usage: Any = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: Any = None
    error: Any = None


class _DeltaEvent(msgspec.Struct, gc=False):
    """What nearly all events are."""

    delta: _Delta
    index: int = 0


_EVENT: Final = msgspec.json.Decoder(_Event)
_DELTA_EVENT: Final = msgspec.json.Decoder(_DeltaEvent)
_KINDS: Final[dict[str, BlockKind]] = {
    "text": "text",
    "thinking": "thinking",
    "redacted_thinking": "thinking",
    "tool_use": "tool_call",
}
"""Blocks that the hub knows; any other is left out whole."""
_NOTHING: Final[tuple[HubEvent, ...]] = ()
_EMPTY_INPUT: Final = frozenset({b"{}", b"null", b""})


class MessagesReader:
    """Shape:  content_block_delta {"text": "Hi"}  ->  Delta(block, "Hi")

    Complete with `message_stop`; a stream that ends without it was broken. Pings and unknown events mean nothing.
    """

    def __init__(self) -> None:
        self._meter = UsageMeter()
        self._numbers: dict[int, int] = {}
        """The upstream's index of an open block -> ours."""
        self._begun = 0
        self._signatures: dict[int, str] = {}
        self._inputs: dict[int, str] = {}
        """Arguments that came whole in a block's start, as some compatible servers send them."""
        self._has_begun = False
        self._has_ended = False

    def feed(self, event: Event) -> Sequence[HubEvent]:
        if event.name == b"content_block_delta":
            parsed = _DELTA_EVENT.decode(event.data)
            return self._delta(parsed.index, parsed.delta)
        read = _EVENT.decode(event.data)
        match read.type:
            case "content_block_delta" if read.delta is not None:
                return self._delta(read.index, read.delta)
            case "content_block_start" if read.content_block is not None:
                return self._begin(read.index, read.content_block)
            case "content_block_stop":
                return self._end(read.index)
            case "message_start":
                return self._start(read.message or _Message())
            case "message_delta":
                return self._close(read)
            case "message_stop":
                return [*self._over(None), Done()]
        if read.type == "error" or read.error:
            return (Failed(failure_message(read.error), is_overload(read.error)),)
        return _NOTHING

    def end(self) -> Sequence[HubEvent]:
        return _NOTHING

    def _start(self, message: _Message) -> Sequence[HubEvent]:
        if self._has_begun:
            return _NOTHING
        self._has_begun = True
        self._meter.add_prompt(message.usage)
        usage = self._meter.read()
        if usage is None:
            return (Begin(message.id),)
        return Begin(message.id, usage=usage), UsageRead(usage, self._meter.counts_output)

    def _begin(self, index: int, block: _Block) -> Sequence[HubEvent]:
        begun: list[HubEvent] = [*self._start(_Message()), *self._end(index)]
        kind = _KINDS.get(block.type)
        if kind is None or self._has_ended:
            return begun
        number = self._numbers[index] = self._begun
        self._begun += 1
        begun.append(BlockBegin(number, kind, id=block.id, name=block.name))
        if block.type == "redacted_thinking":
            begun.append(Sealed(number, Seal(ANTHROPIC, ENCRYPTED, block.data)))
        elif kind == "thinking":
            self._signatures[index] = block.signature
        if block.text or block.thinking:
            begun.append(Delta(number, block.text or block.thinking))
        if not is_null(block.input) and (given := bytes(block.input)) not in _EMPTY_INPUT:
            self._inputs[index] = given.decode()
        return begun

    def _delta(self, index: int, delta: _Delta) -> Sequence[HubEvent]:
        number = self._numbers.get(index)
        if number is None:
            return _NOTHING
        if delta.text:
            return (Delta(number, delta.text),)
        if delta.partial_json:
            self._inputs.pop(index, None)
            return (Delta(number, delta.partial_json),)
        if delta.thinking:
            return (Delta(number, delta.thinking),)
        if delta.signature and index in self._signatures:
            self._signatures[index] += delta.signature
        elif delta.citation is not None:
            return (Cited(number, delta.citation),)
        return _NOTHING

    def _end(self, index: int) -> Sequence[HubEvent]:
        number = self._numbers.pop(index, None)
        if number is None:
            return _NOTHING
        ended: list[HubEvent] = []
        arguments = self._inputs.pop(index, None)
        if arguments is not None:
            ended.append(Delta(number, arguments))
        seal = signed(self._signatures.pop(index, ""))
        if seal is not None:
            ended.append(Sealed(number, seal))
        ended.append(BlockEnd(number))
        return ended

    def _close(self, read: _Event) -> Sequence[HubEvent]:
        closing: list[HubEvent] = []
        if read.delta is not None and read.delta.stop_reason:
            closing += self._over(read.delta)
        self._meter.add(read.usage)
        usage = self._meter.read()
        if usage is not None:
            closing.append(UsageRead(usage, self._meter.counts_output))
        return closing

    def _over(self, delta: _Delta | None) -> Sequence[HubEvent]:
        """The answer is over, once: for a reason that the upstream names, or (None) because it says no more."""
        if self._has_ended:
            return _NOTHING
        over: list[HubEvent] = [*self._start(_Message())]
        for index in list(self._numbers):
            over += self._end(index)
        self._has_ended = True
        said = delta if delta is not None else _Delta()
        over.append(Ended(read_ending(said.stop_reason, said.stop_sequence, said.stop_details)))
        return over
