"""One choice of a chat stream: which block of the hub each delta goes on with."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from apps.dialects.hub import events as hub
from apps.dialects.hub.conversation import Thinking
from apps.dialects.hub.events import BlockBegin, BlockEnd, BlockKind, Drawn, HubEvent, Sealed
from apps.dialects.openai_chat.answer import extra_seal, image_of, logprobs_of, new_call_id, text_of
from apps.dialects.openai_chat.details import TEXTS, read_details

_NO_BLOCK: Final = -1


class CallPart(msgspec.Struct, gc=False):
    name: Any = None
    arguments: Any = None
    input: Any = None
    """Of a custom tool."""


class CallDelta(msgspec.Struct, gc=False):
    index: int | None = None
    id: Any = None
    function: CallPart | None = None
    custom: CallPart | None = None
    extra_content: Any = None


class Delta(msgspec.Struct, gc=False):
    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    tool_calls: list[CallDelta] | None = None
    function_call: CallPart | None = None
    images: Any = None


class _Call:
    """A tool call whose block is `block`; not begun while its name is unknown."""

    __slots__ = ("block", "held", "id", "is_custom", "seal")

    def __init__(self) -> None:
        self.block = _NO_BLOCK
        self.id = ""
        self.held = ""
        """Arguments that came before the name."""
        self.is_custom = False
        self.seal: Any = None


class ChoiceReader:
    def __init__(self, index: int) -> None:
        self.has_calls = False
        self.has_refusal = False
        self._index = index
        self._next_block = 0
        self._open = _NO_BLOCK
        """The open block of text, reasoning or refusal, of kind `_kind`; calls stay open beside it until the end."""
        self._kind: BlockKind | None = None
        self._calls: dict[int, _Call] = {}
        self._newest_call = 0
        self._details: list[dict[str, Any]] = []
        self._tells_reasoning = False
        """Reasoning comes as text of its own: what the details say is the same once more."""

    def read(self, delta: Delta, logprobs: Any, events: list[HubEvent]) -> None:
        content = delta.content
        reasoning = delta.reasoning_content or delta.reasoning
        if delta.reasoning_details and self._details:
            self._split_thoughts(delta.reasoning_details, events)
        if reasoning and isinstance(reasoning, str):
            self._tells_reasoning = True
            if self._details and any(entry.get("signature") or entry.get("data") for entry in self._details):
                # What was open is sealed: this is another thought.
                self._end_open(events)
            self._say("thinking", reasoning, None, events)
        if delta.reasoning_details:
            self._take_details(delta.reasoning_details, events)
        if content or logprobs is not None:
            text = content if isinstance(content, str) else text_of(content)
            tokens = logprobs_of(logprobs)
            if text or tokens:
                self._say("text", text, tokens, events)
        if delta.refusal and isinstance(delta.refusal, str):
            self.has_refusal = True
            self._say("refusal", delta.refusal, None, events)
        if delta.images:
            self._draw(delta.images, events)
        if delta.tool_calls:
            for place, call in enumerate(delta.tool_calls):
                self._call(call, place, events)
        if delta.function_call is not None:
            self._call(CallDelta(0, None, delta.function_call), 0, events)

    def close(self, events: list[HubEvent]) -> None:
        """End what is open. What comes after all the same begins anew."""
        self._end_open(events)
        for call in self._calls.values():
            if call.block == _NO_BLOCK and call.held:
                self._begin_call(call, "", events)
                events.append(hub.Delta(call.block, call.held, self._index))
            if call.block != _NO_BLOCK:
                events.append(BlockEnd(call.block, self._index))
        self._calls.clear()

    def _say(self, kind: BlockKind, text: str, logprobs: Any, events: list[HubEvent]) -> None:
        if kind is not self._kind:
            self._end_open(events)
            self._kind = kind
            self._open = self._begin(kind, events)
        events.append(hub.Delta(self._open, text, self._index, logprobs))

    def _begin(self, kind: BlockKind, events: list[HubEvent], **more: Any) -> int:
        block = self._next_block
        self._next_block += 1
        events.append(BlockBegin(block, kind, self._index, **more))
        return block

    def _end_open(self, events: list[HubEvent]) -> None:
        """End the open text, thought or refusal; seals that came with thoughts are known by now."""
        if self._details:
            self._seal(events)
        elif self._kind is not None:
            events.append(BlockEnd(self._open, self._index))
        self._kind = None
        self._open = _NO_BLOCK

    def _split_thoughts(self, entries: object, events: list[HubEvent]) -> None:
        """Text under another index is another thought: what was open ends with its own seal."""
        first = entries[0] if isinstance(entries, list) else None
        if not isinstance(first, dict) or str(first.get("type")) not in TEXTS:
            return
        told = [entry for entry in self._details if str(entry.get("type")) in TEXTS]
        if any(entry.get("index") != first.get("index") for entry in told):
            self._end_open(events)

    def _take_details(self, entries: object, events: list[HubEvent]) -> None:
        """Fragments of details; those with one index belong together."""
        for entry in entries if isinstance(entries, list) else ():
            if not isinstance(entry, dict):
                continue
            if self._kind not in (None, "thinking"):
                self._end_open(events)
            text = entry.get("text") or entry.get("summary")
            if isinstance(text, str) and text and not self._tells_reasoning:
                self._say("thinking", text, None, events)
            self._merge(entry)

    def _merge(self, entry: dict[str, Any]) -> None:
        last = self._details[-1] if self._details else None
        if last is None or (last.get("index"), last.get("type")) != (entry.get("index"), entry.get("type")):
            self._details.append(dict(entry))
            return
        for name, value in entry.items():
            before = last.get(name)
            is_more = name in ("text", "summary", "data") and isinstance(before, str) and isinstance(value, str)
            if is_more:
                last[name] = before + value
            elif value is not None:
                last[name] = value

    def _seal(self, events: list[HubEvent]) -> None:
        """One seal ends the open thought; further ones are thoughts of their own, which nobody can read."""
        seals = [thought for thought in read_details(self._details, is_upstreams=True) if thought.seal is not None]
        self._details = []
        if self._kind == "thinking":
            own = next((thought for thought in seals if thought.text), seals[0] if len(seals) == 1 else None)
            if own is not None and own.seal is not None:
                seals.remove(own)
                events.append(Sealed(self._open, own.seal, self._index))
            events.append(BlockEnd(self._open, self._index))
        elif self._kind is not None:
            events.append(BlockEnd(self._open, self._index))
        for thought in seals:
            self._sealed_block(thought, events)

    def _sealed_block(self, thought: Thinking, events: list[HubEvent]) -> None:
        block = self._begin("thinking", events)
        if thought.text:
            events.append(hub.Delta(block, thought.text, self._index))
        if thought.seal is not None:
            events.append(Sealed(block, thought.seal, self._index))
        events.append(BlockEnd(block, self._index))

    def _draw(self, images: object, events: list[HubEvent]) -> None:
        for entry in images if isinstance(images, list) else ():
            image = image_of(entry)
            if image is not None:
                self._end_open(events)
                events.append(Drawn(image, self._index))

    def _call(self, delta: CallDelta, place: int, events: list[HubEvent]) -> None:
        """Go on with a call, known by its index; a new id and name under a known index is the next call."""
        index = delta.index
        id_ = delta.id if isinstance(delta.id, str) else ""
        said = delta.function or delta.custom or CallPart()
        name = said.name if isinstance(said.name, str) else ""
        if index is None:
            index = place if name or len(self._calls) <= 1 else self._newest_call
        call = self._calls.get(index)
        if call is not None and name and id_ and call.id and id_ != call.id:
            events.append(BlockEnd(call.block, self._index))
            call = None
        if call is None:
            call = self._calls[index] = _Call()
        self._newest_call = index
        call.id = call.id or id_
        call.is_custom = call.is_custom or delta.custom is not None
        if delta.extra_content:
            call.seal = delta.extra_content
        arguments = _arguments(said)
        if call.block == _NO_BLOCK:
            if not name:
                call.held += arguments
                return
            self._begin_call(call, name, events)
            arguments = call.held + arguments
        if arguments:
            events.append(hub.Delta(call.block, arguments, self._index))

    def _begin_call(self, call: _Call, name: str, events: list[HubEvent]) -> None:
        self.has_calls = True
        self._end_open(events)
        call.id = call.id or new_call_id()
        if call.seal is not None:
            self._sealed_block(Thinking(seal=extra_seal(call.seal, call.id)), events)
        call.block = self._begin("tool_call", events, id=call.id, name=name, is_custom=call.is_custom)


def _arguments(said: CallPart) -> str:
    """More of the arguments' JSON text; some send the object itself."""
    value = said.input if said.input is not None else said.arguments
    if value is None or isinstance(value, str):
        return value or ""
    return msgspec.json.encode(value).decode()
