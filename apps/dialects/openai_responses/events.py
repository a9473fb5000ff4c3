"""An upstream's Responses stream as hub events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.dialects.common.json_body import NULL, is_null
from apps.dialects.common.scrub import failure_message, is_overload
from apps.dialects.common.sse import Event
from apps.dialects.hub.conversation import Conversation, ToolCall
from apps.dialects.hub.events import Begin, Delta, Done, Drawn, Ended, Failed, HubEvent, UsageRead
from apps.dialects.openai_responses import items
from apps.dialects.openai_responses.answer import Response, read_call
from apps.dialects.openai_responses.opened import CALL, ENDED, THOUGHT, Blocks, OpenItem
from apps.dialects.openai_responses.output import read_ending

_NOTHING: Final[tuple[HubEvent, ...]] = ()
_TEXT_DELTA: Final = b"response.output_text.delta"
_OURS: Final = b"response."


class _Head(msgspec.Struct, gc=False):
    type: str = ""
    error: Raw = NULL


class _Delta(msgspec.Struct, gc=False):
    delta: str
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    logprobs: Raw = NULL


class _Cited(msgspec.Struct):
    output_index: int = 0
    content_index: int = 0
    annotation: Any = None


class _Item(msgspec.Struct):
    item: Raw
    output_index: int = 0


class _Part(msgspec.Struct):
    part: items.Part
    output_index: int = 0
    content_index: int = 0


class _Life(msgspec.Struct):
    response: Response


class _Failure(msgspec.Struct):
    error: Any = None


class _Error(msgspec.Struct):
    message: Any = None
    code: Any = None
    error: Any = None
    response: _Failure | None = None


class _Announced(msgspec.Struct):
    """An item as it begins."""

    type: str | None = None
    id: str | None = None
    name: str | None = None
    call_id: str | None = None


_HEAD: Final = msgspec.json.Decoder(_Head)
_DELTA: Final = msgspec.json.Decoder(_Delta)
_CITED: Final = msgspec.json.Decoder(_Cited)
_ITEM: Final = msgspec.json.Decoder(_Item)
_PART: Final = msgspec.json.Decoder(_Part)
_LIFE: Final = msgspec.json.Decoder(_Life)
_ERROR: Final = msgspec.json.Decoder(_Error)
_ANNOUNCED: Final = msgspec.json.Decoder(_Announced)
_LIST: Final = msgspec.json.Decoder(list[Any])
_CALLS: Final = {"function_call": False, "custom_tool_call": True}
"""Kinds of calls, and whether they take free text."""


class ResponsesReader:
    """See `StreamReader`.

    Shape:  response.output_text.delta {"delta": "Hi"}  ->  Delta(block=0, text="Hi")
    Providers that imitate this protocol leave events out; so whatever did not come piece by piece is taken from the
    item when it is done, and from the response at the end.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._wants_logprobs = conversation.logprobs is not None
        self._blocks = Blocks(wants_logprobs=self._wants_logprobs)
        self._open: dict[int, OpenItem] = {}
        self._done: set[int] = set()
        self._has_begun = False

    def feed(self, event: Event) -> Sequence[HubEvent]:
        name, data = event.name, event.data
        if name == _TEXT_DELTA:
            return self._text_delta(data)
        if data == b"[DONE]":
            return _NOTHING
        read = _READERS.get(name)
        if read is None:
            if name.startswith(_OURS):
                return _NOTHING
            head = _HEAD.decode(data)
            read = _READERS.get(head.type.encode())
            if read is None:
                return _NOTHING if is_null(head.error) else self._failed(data)
        return read(self, data)

    def end(self) -> Sequence[HubEvent]:
        """A stream without its terminal event broke off."""
        return _NOTHING

    def _text_delta(self, data: bytes) -> Sequence[HubEvent]:
        read = _DELTA.decode(data)
        opened = self._open.get(read.output_index)
        if opened is None or self._wants_logprobs or (block := opened.blocks.get(read.content_index, ENDED)) == ENDED:
            found, opened = self._item(read.output_index)
            logprobs = _logprobs(read.logprobs) if self._wants_logprobs else None
            return [*found, *opened.say(read.content_index, "text", read.delta, logprobs)]
        opened.lengths[read.content_index] += len(read.delta)
        return (Delta(block, read.delta),)

    def _refusal_delta(self, data: bytes) -> Sequence[HubEvent]:
        read = _DELTA.decode(data)
        found, opened = self._item(read.output_index)
        return [*found, *opened.say(read.content_index, "refusal", read.delta)]

    def _arguments_delta(self, data: bytes) -> Sequence[HubEvent]:
        read = _DELTA.decode(data)
        opened = self._open.get(read.output_index)
        # A call that nothing announced has no name yet: it is told whole when it is done.
        return _NOTHING if opened is None or CALL not in opened.blocks else opened.say(CALL, "tool_call", read.delta)

    def _summary_delta(self, data: bytes) -> Sequence[HubEvent]:
        read = _DELTA.decode(data)
        found, opened = self._item(read.output_index)
        if THOUGHT not in opened.blocks:
            opened.is_summary = True
        elif not opened.is_summary:
            return found
        gap = items.SUMMARY_GAP if read.summary_index > opened.summary_part else ""
        opened.summary_part = read.summary_index
        return [*found, *opened.say(THOUGHT, "thinking", gap + read.delta)]

    def _reasoning_delta(self, data: bytes) -> Sequence[HubEvent]:
        read = _DELTA.decode(data)
        found, opened = self._item(read.output_index)
        return found if opened.is_summary else [*found, *opened.say(THOUGHT, "thinking", read.delta)]

    def _annotation(self, data: bytes) -> Sequence[HubEvent]:
        read = _CITED.decode(data)
        found, opened = self._item(read.output_index)
        return [*found, *opened.cite(read.content_index, read.annotation)]

    def _part_done(self, data: bytes) -> Sequence[HubEvent]:
        read = _PART.decode(data)
        if read.part.type not in ("output_text", "refusal"):
            return _NOTHING
        found, opened = self._item(read.output_index)
        return [*found, *opened.finish_part(read.content_index, read.part)]

    def _added(self, data: bytes) -> Sequence[HubEvent]:
        read = _ITEM.decode(data)
        item = _ANNOUNCED.decode(read.item)
        found, opened = self._item(read.output_index)
        opened.id = items.provider_id(item.id)
        if item.type in _CALLS and item.name:
            found += opened.begin_call(ToolCall(item.call_id or "", item.name, "", _CALLS[item.type]))
        return found

    def _item_done(self, data: bytes) -> Sequence[HubEvent]:
        read = _ITEM.decode(data)
        return self._finish_item(read.output_index, read.item)

    def _finish_item(self, index: int, raw: Raw) -> list[HubEvent]:
        found, opened = self._item(index)
        kind = items.HEAD.decode(raw).type
        if kind == "image_generation_call":
            image = items.read_drawing(items.DRAWING.decode(raw))
            found += [Drawn(image)] if image is not None else []
        call = read_call(raw, is_custom=_CALLS[kind]) if kind in _CALLS else None
        found += opened.finish(raw, call)
        self._done.add(index)
        del self._open[index]
        return found

    def _created(self, data: bytes) -> Sequence[HubEvent]:
        return self._begin(_LIFE.decode(data).response)

    def _terminal(self, data: bytes) -> Sequence[HubEvent]:
        response = _LIFE.decode(data).response
        found = self._begin(response)
        is_silent = not self._open and not self._done
        for index, raw in enumerate(response.output or ()):
            if is_silent or index in self._open:
                found += self._finish_item(index, raw)
        for opened in self._open.values():
            found += opened.close()
        usage = response.read_usage()
        if usage is not None:
            found.append(UsageRead(usage))
        blocks = self._blocks
        ending = read_ending(
            response.status or "completed",
            response.reason,
            has_calls=blocks.has_calls,
            has_refusal=blocks.has_refusal,
        )
        return [*found, Ended(ending), Done()]

    def _failed(self, data: bytes) -> Sequence[HubEvent]:
        read = _ERROR.decode(data)
        error = read.error or (read.response.error if read.response is not None else None)
        if error is None:
            error = {"message": read.message, "code": read.code}
        return (Failed(failure_message(error), is_overload(error)),)

    def _begin(self, response: Response) -> list[HubEvent]:
        if self._has_begun:
            return []
        self._has_begun = True
        return [Begin(response.id, response.created_s)]

    def _item(self, index: int) -> tuple[list[HubEvent], OpenItem]:
        """The item of that index, and the stream's beginning where nothing told it."""
        found: list[HubEvent] = []
        if not self._has_begun:
            self._has_begun = True
            found.append(Begin(""))
        opened = self._open.get(index)
        if opened is None:
            opened = self._open[index] = OpenItem(self._blocks)
        return found, opened


def _logprobs(raw: Raw) -> list[Any] | None:
    return None if is_null(raw) else _LIST.decode(raw) or None


_Read = Callable[[ResponsesReader, bytes], Sequence[HubEvent]]

_READERS: Final[dict[bytes, _Read]] = {
    _TEXT_DELTA: ResponsesReader._text_delta,
    b"response.refusal.delta": ResponsesReader._refusal_delta,
    b"response.function_call_arguments.delta": ResponsesReader._arguments_delta,
    b"response.custom_tool_call_input.delta": ResponsesReader._arguments_delta,
    b"response.reasoning_summary_text.delta": ResponsesReader._summary_delta,
    b"response.reasoning_text.delta": ResponsesReader._reasoning_delta,
    b"response.output_text.annotation.added": ResponsesReader._annotation,
    b"response.content_part.done": ResponsesReader._part_done,
    b"response.output_item.added": ResponsesReader._added,
    b"response.output_item.done": ResponsesReader._item_done,
    b"response.created": ResponsesReader._created,
    b"response.queued": ResponsesReader._created,
    b"response.in_progress": ResponsesReader._created,
    b"response.completed": ResponsesReader._terminal,
    b"response.incomplete": ResponsesReader._terminal,
    b"response.failed": ResponsesReader._failed,
    b"response.cancelled": ResponsesReader._failed,
    b"error": ResponsesReader._failed,
}
"""What each event means. Events that only repeat what others said, or tell of hosted tools, are passed over."""
