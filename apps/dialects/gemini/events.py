"""A streamGenerateContent stream as hub events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from apps.core.tokens import NO_USAGE
from apps.dialects.common.json_body import NULL
from apps.dialects.common.scrub import failure_message, is_overload
from apps.dialects.common.sse import Event
from apps.dialects.gemini.answer import REPLY, Candidate, Reply, usage_of
from apps.dialects.gemini.endings import blocked, read_ending
from apps.dialects.gemini.partial_args import add_partial
from apps.dialects.gemini.parts import (
    END,
    PICTURE,
    TEXT,
    FunctionCall,
    Part,
    arguments_of,
    image_of,
    new_call_id,
    signature_of,
)
from apps.dialects.gemini.tokens import read_logprobs
from apps.dialects.hub.answer import Ending
from apps.dialects.hub.conversation import Thinking
from apps.dialects.hub.events import (
    Begin,
    BlockBegin,
    BlockEnd,
    BlockKind,
    Delta,
    Done,
    Drawn,
    Ended,
    Failed,
    HubEvent,
    Sealed,
    UsageRead,
)
from apps.dialects.hub.reasoning import ENCRYPTED, GEMINI, Seal

_NO_BLOCK = -1


class GeminiReader:
    """See `StreamReader`. Every chunk repeats the usage so far: the first is told for what it says of the prompt, then
    the last. The stream has no end mark: it is complete where the body ends with every candidate finished."""

    def __init__(self, *, n: int = 1) -> None:
        self._n = n
        self._has_begun = False
        self._usage = NULL
        self._candidates: dict[int, _CandidateReader] = {}
        self._endings: dict[int, Ending] = {}

    def feed(self, event: Event) -> Sequence[HubEvent]:
        chunk = REPLY.decode(event.data)
        if chunk.error:
            return (Failed(failure_message(chunk.error), is_overload(chunk.error)),)
        events: list[HubEvent] = []
        if not self._has_begun:
            self._begin(chunk, events)
        if chunk.usage_metadata is not NULL:
            self._usage = chunk.usage_metadata
        for candidate in chunk.candidates or ():
            self._read(candidate, events)
        if chunk.is_blocked and chunk.prompt_feedback is not None:
            self._endings[0] = blocked(chunk.prompt_feedback.block_reason)
        return events

    def end(self) -> Sequence[HubEvent]:
        usage = usage_of(self._usage)
        is_blocked = bool(self._endings) and not self._candidates
        if usage is None and is_blocked:
            usage = NO_USAGE
        events: list[HubEvent] = [UsageRead(usage)] if usage is not None else []
        if len(self._endings) < (1 if is_blocked else self._n):
            return events
        events += [Ended(ending, index) for index, ending in sorted(self._endings.items())]
        return [*events, Done()]

    def _begin(self, chunk: Reply, events: list[HubEvent]) -> None:
        self._has_begun = True
        events.append(Begin(chunk.response_id or ""))
        usage = usage_of(chunk.usage_metadata)
        if usage is not None:
            events.append(UsageRead(usage, counts_output=False))

    def _read(self, candidate: Candidate, events: list[HubEvent]) -> None:
        index = candidate.index or 0
        reader = self._candidates.get(index)
        if reader is None:
            reader = self._candidates[index] = _CandidateReader(index)
        content = candidate.content
        if content is not None and content.parts is not None:
            result = candidate.logprobs_result
            logprobs = None if result is None else read_logprobs(result)
            for part in content.parts:
                reader.read(part, logprobs, events)
                logprobs = None
        if candidate.finish_reason is not None:
            reader.close(events)
            self._endings[index] = read_ending(candidate.finish_reason, has_calls=reader.has_calls)


class _CandidateReader:
    """One candidate: a call comes whole, or value by value; texts and thoughts go on until another kind comes."""

    def __init__(self, index: int) -> None:
        self.has_calls = False
        self._index = index
        self._next_block = 0
        self._open = _NO_BLOCK
        self._kind: BlockKind | None = None
        self._texts = 0
        self._images = 0
        self._partial: dict[str, Any] | None = None

    def read(self, part: Part, logprobs: Any, events: list[HubEvent]) -> None:
        text, signature = part.text, part.thought_signature
        if text is not None and part.function_call is None and part.inline_data is None:
            kind: BlockKind = "thinking" if part.thought else "text"
            if text:
                self._say(kind, text, logprobs, events)
            if signature:
                self._sign(kind, signature, is_empty=not text, events=events)
        elif part.function_call is not None:
            self._call(part.function_call, signature, events)
        elif part.inline_data is not None:
            self.close(events)
            if signature:
                self._signature(f"{PICTURE}{self._images}", signature, events)
            self._images += 1
            events.append(Drawn(image_of(part.inline_data), self._index))

    def close(self, events: list[HubEvent]) -> None:
        """End what is open; arguments that came value by value are whole by now."""
        if self._partial is not None:
            events.append(Delta(self._open, msgspec.json.encode(self._partial).decode(), self._index))
            self._partial = None
        if self._kind is not None:
            events.append(BlockEnd(self._open, self._index))
            self._kind = None
            self._open = _NO_BLOCK

    def _say(self, kind: BlockKind, text: str, logprobs: Any, events: list[HubEvent]) -> None:
        if kind is not self._kind:
            self._begin(kind, events, is_summary=kind == "thinking")
            if kind == "text":
                self._texts += 1
        events.append(Delta(self._open, text, self._index, logprobs))

    def _begin(self, kind: BlockKind, events: list[HubEvent], **more: Any) -> None:
        self.close(events)
        self._kind = kind
        self._open = self._next_block
        self._next_block += 1
        events.append(BlockBegin(self._open, kind, self._index, **more))

    def _sign(self, kind: BlockKind, signature: str, *, is_empty: bool, events: list[HubEvent]) -> None:
        """A signature ends the thought or text that it came with."""
        if kind == "text":
            self.close(events)
            self._signature(f"{END if is_empty else TEXT}{max(0, self._texts - 1)}", signature, events)
            return
        if self._kind != "thinking":
            self._begin("thinking", events, is_summary=True)
        events.append(Sealed(self._open, Seal(GEMINI, ENCRYPTED, signature), self._index))
        self.close(events)

    def _signature(self, part: str, payload: str, events: list[HubEvent]) -> None:
        thought: Thinking = signature_of(part, payload)
        assert thought.seal is not None
        self._begin("thinking", events)
        events.append(Sealed(self._open, thought.seal, self._index))
        self.close(events)

    def _call(self, call: FunctionCall, signature: str | None, events: list[HubEvent]) -> None:
        if self._partial is None or call.name:
            self.has_calls = True
            self.close(events)
            id_ = call.id or new_call_id()
            if signature:
                self._signature(id_, signature, events)
            self._begin("tool_call", events, id=id_, name=call.name or "")
            if not call.will_continue and call.partial_args is None:
                arguments = arguments_of(call)
                if arguments:
                    events.append(Delta(self._open, arguments, self._index))
                self.close(events)
                return
            self._partial = {}
        for entry in call.partial_args or ():
            add_partial(self._partial, entry)
        if not call.will_continue:
            self.close(events)
