"""An upstream's chat stream as hub events, whatever its provider makes of the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from apps.dialects.common.scrub import failure_message, is_overload
from apps.dialects.common.sse import Event
from apps.dialects.hub.answer import Ending
from apps.dialects.hub.events import Begin, Done, Ended, Failed, HubEvent, UsageRead
from apps.dialects.openai_chat.choice import ChoiceReader, Delta
from apps.dialects.openai_chat.endings import read_ending
from apps.dialects.openai_chat.usage import read_usage

DONE: Final = b"[DONE]"


class _Choice(msgspec.Struct, gc=False):
    """Members are checked where they are used: what one provider fills with text, another leaves null or odd."""

    index: int | None = 0
    delta: Delta | None = None
    finish_reason: Any = None
    native_finish_reason: Any = None
    logprobs: Any = None
    usage: Any = None
    error: Any = None


class _Chunk(msgspec.Struct, gc=False):
    id: Any = ""
    created: Any = 0
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    x_groq: Any = None


_CHUNK: Final = msgspec.json.Decoder(_Chunk)


class ChatReader:
    """See `StreamReader`. A choice's end is told with the stream's: some providers send text or usage after it."""

    def __init__(self, *, n: int = 1) -> None:
        self._choices: dict[int, ChoiceReader] = {}
        self._endings: dict[int, Ending] = {}
        self._n = n
        self._has_begun = False

    def feed(self, event: Event) -> Sequence[HubEvent]:
        if event.data == DONE:
            return self._end() if self._endings else ()
        chunk = _CHUNK.decode(event.data)
        if chunk.error:
            return (Failed(failure_message(chunk.error), is_overload(chunk.error)),)
        events: list[HubEvent] = []
        if chunk.choices:
            if not self._has_begun:
                self._begin(chunk, events)
            for choice in chunk.choices:
                if choice.error:
                    return (*events, Failed(failure_message(choice.error), is_overload(choice.error)))
                self._read(choice, events)
        self._meter(chunk, events)
        return events

    def end(self) -> Sequence[HubEvent]:
        return self._end() if len(self._endings) >= self._n else ()

    def _begin(self, chunk: _Chunk, events: list[HubEvent]) -> None:
        self._has_begun = True
        id_ = chunk.id if isinstance(chunk.id, str) else ""
        created_s = chunk.created if type(chunk.created) is int else 0
        events.append(Begin(id_, created_s))

    def _read(self, choice: _Choice, events: list[HubEvent]) -> None:
        index = choice.index or 0
        reader = self._choices.get(index)
        if reader is None:
            reader = self._choices[index] = ChoiceReader(index)
        if choice.delta is not None:
            reader.read(choice.delta, choice.logprobs, events)
        if choice.finish_reason is not None:
            reader.close(events)
            native = choice.native_finish_reason
            self._endings[index] = read_ending(
                str(choice.finish_reason),
                has_calls=reader.has_calls,
                has_refusal=reader.has_refusal,
                native=native if isinstance(native, str) else "",
            )

    def _meter(self, chunk: _Chunk, events: list[HubEvent]) -> None:
        """Usage stands at the top, in a choice (Moonshot), or in `x_groq` (Groq); the last that counts wins."""
        if chunk.usage is not None:
            _keep(chunk.usage, events)
        elif chunk.x_groq is not None:
            _keep(chunk.x_groq.get("usage") if isinstance(chunk.x_groq, dict) else None, events)
        elif chunk.choices:
            for choice in chunk.choices:
                if choice.usage is not None:
                    _keep(choice.usage, events)

    def _end(self) -> list[HubEvent]:
        events: list[HubEvent] = []
        for reader in self._choices.values():
            reader.close(events)
        events += [Ended(ending, index) for index, ending in sorted(self._endings.items())]
        events.append(Done())
        return events


def _keep(counts: object, events: list[HubEvent]) -> None:
    usage = read_usage(counts) if isinstance(counts, dict) else None
    if usage is not None:
        events.append(UsageRead(usage))
