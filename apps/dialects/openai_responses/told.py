"""Output items of our own stream while they are told: each knows how to begin, go on and end.

The pieces of a text are by far the most of a stream, so their frames are put together from bytes made once per item.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec

from apps.dialects.common.sse import frame_of
from apps.dialects.hub.events import BlockBegin
from apps.dialects.hub.reasoning import Seal
from apps.dialects.openai_responses import output

_ENCODE: Final = msgspec.json.Encoder().encode
_NO_LOGPROBS: Final = b',"logprobs":[]}\n\n'


class Numbers:
    """`sequence_number` of the events of one stream."""

    __slots__ = ("next",)

    def __init__(self) -> None:
        self.next = 0

    def take(self) -> int:
        number = self.next
        self.next = number + 1
        return number


class Told(Protocol):
    """A block of the hub's stream on its way out."""

    index: int

    def begin(self) -> bytes: ...

    def more(self, text: str, logprobs: Any) -> bytes: ...

    def end(self, *, is_cut: bool) -> tuple[bytes, output.Item | None]:
        """What is left to say, and the item where this was the last of it."""


class _Frames:
    """Events of one item, or of one part of it."""

    def __init__(self, numbers: Numbers, **where: Any) -> None:
        self._numbers = numbers
        self._where = where
        self._where_json = b"," + _ENCODE(where)[1:-1]

    def delta_head(self, kind: str) -> tuple[bytes, bytes]:
        """What stands before the sequence number of a delta, and between that and its text."""
        name = kind.encode()
        head = b"event: " + name + b'\ndata: {"type":"' + name + b'","sequence_number":'
        return head, self._where_json + b',"delta":'

    def frame(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._numbers.take(), **self._where, **fields}
        return frame_of(kind.encode(), _ENCODE(event))

    def item_frame(self, kind: str, index: int, item: output.Item) -> bytes:
        event = {"type": kind, "sequence_number": self._numbers.take(), "output_index": index, "item": item}
        return frame_of(kind.encode(), _ENCODE(event))


class ToldMessage:
    """A message whose parts are told one by one. It is done once nothing can be added and every part has ended."""

    def __init__(self, numbers: Numbers, index: int, item_id: str) -> None:
        self.numbers = numbers
        self.index = index
        self.id = item_id
        self.content: list[output.Item] = []
        self.open_parts = 0
        self._frames = _Frames(numbers)
        self._is_closed = False
        self._is_cut = False

    def begin(self) -> bytes:
        item = output.message_item(self.id, [], status="in_progress")
        return self._frames.item_frame("response.output_item.added", self.index, item)

    def finish(self, *, is_cut: bool) -> tuple[bytes, output.Item | None]:
        """Nothing is added any more."""
        self._is_closed = True
        return self.done(is_cut=is_cut)

    def done(self, *, is_cut: bool) -> tuple[bytes, output.Item | None]:
        self._is_cut = self._is_cut or is_cut
        if not self._is_closed or self.open_parts:
            return b"", None
        item = output.message_item(self.id, self.content, status="incomplete" if self._is_cut else "completed")
        return self._frames.item_frame("response.output_item.done", self.index, item), item


class MessagePart:
    """A text or a refusal."""

    def __init__(self, message: ToldMessage, *, is_refusal: bool) -> None:
        self.index = message.index
        self._message = message
        self._is_refusal = is_refusal
        self._numbers = message.numbers
        self._kind = "response.refusal" if is_refusal else "response.output_text"
        self._texts: list[str] = []
        self._logprobs: list[Any] = []
        position = len(message.content)
        self._frames = _Frames(message.numbers, item_id=message.id, output_index=message.index, content_index=position)
        self._head, self._middle = self._frames.delta_head(f"{self._kind}.delta")
        self._tail = b"}\n\n" if is_refusal else _NO_LOGPROBS
        self._part = output.refusal_part("") if is_refusal else output.text_part("")
        message.content.append(self._part)
        message.open_parts += 1

    def begin(self) -> bytes:
        return self._frames.frame("response.content_part.added", part=self._part)

    def more(self, text: str, logprobs: Any) -> bytes:
        self._texts.append(text)
        numbers = self._numbers
        number = numbers.next
        numbers.next = number + 1
        tail = self._tail
        if logprobs is not None and not self._is_refusal:
            self._logprobs += logprobs
            tail = b',"logprobs":' + _ENCODE(logprobs) + b"}\n\n"
        return b"%b%d%b%b%b" % (self._head, number, self._middle, _ENCODE(text), tail)

    def cite(self, citation: Any) -> bytes:
        """An annotation of our own kind; others have no place here."""
        if self._is_refusal or not output.is_own_citation(citation):
            return b""
        annotations = self._part["annotations"]
        annotations.append(citation)
        return self._frames.frame(
            "response.output_text.annotation.added", annotation_index=len(annotations) - 1, annotation=citation
        )

    def end(self, *, is_cut: bool) -> tuple[bytes, output.Item | None]:
        text = "".join(self._texts)
        if self._is_refusal:
            self._part["refusal"] = text
            done = self._frames.frame("response.refusal.done", refusal=text)
        else:
            self._part["text"] = text
            self._part["logprobs"] = self._logprobs
            done = self._frames.frame("response.output_text.done", text=text, logprobs=self._logprobs)
        done += self._frames.frame("response.content_part.done", part=self._part)
        self._message.open_parts -= 1
        rest, item = self._message.done(is_cut=is_cut)
        return done + rest, item


class ThoughtItem:
    """Reasoning: its text as a summary or in the open, its seal at the end."""

    def __init__(self, numbers: Numbers, index: int, item_id: str, *, is_summary: bool) -> None:
        self.index = index
        self.seal: Seal | None = None
        self._id = item_id
        self._is_summary = is_summary
        self._numbers = numbers
        self._texts: list[str] = []
        position = {"summary_index": 0} if is_summary else {"content_index": 0}
        self._kind = "response.reasoning_summary_text" if is_summary else "response.reasoning_text"
        self._part = "response.reasoning_summary_part" if is_summary else "response.content_part"
        self._frames = _Frames(numbers, item_id=item_id, output_index=index, **position)
        self._head, self._middle = self._frames.delta_head(f"{self._kind}.delta")

    def begin(self) -> bytes:
        item = output.reasoning_item(self._id, "", None, is_summary=self._is_summary)
        return self._frames.item_frame("response.output_item.added", self.index, item)

    def more(self, text: str, logprobs: Any) -> bytes:
        sent = b"" if self._texts else self._frames.frame(f"{self._part}.added", part=self._shown(""))
        self._texts.append(text)
        return b"%b%b%d%b%b}\n\n" % (sent, self._head, self._numbers.take(), self._middle, _ENCODE(text))

    def end(self, *, is_cut: bool) -> tuple[bytes, output.Item | None]:
        text = "".join(self._texts)
        done = b""
        if self._texts:
            done = self._frames.frame(f"{self._kind}.done", text=text)
            done += self._frames.frame(f"{self._part}.done", part=self._shown(text))
        item = output.reasoning_item(self._id, text, self.seal, is_summary=self._is_summary)
        return done + self._frames.item_frame("response.output_item.done", self.index, item), item

    def _shown(self, text: str) -> output.Item:
        return {"type": "summary_text" if self._is_summary else "reasoning_text", "text": text}


class CallItem:
    """A call: shown as the caller offered the tool, which for some kinds can be told only once it is whole."""

    def __init__(
        self, numbers: Numbers, calls: output.CallShapes, ids: output.Ids, index: int, call: BlockBegin
    ) -> None:
        self.index = index
        self._numbers = numbers
        self._calls = calls
        self._ids = ids
        self._call = call
        self._texts: list[str] = []
        tool = calls.tool(call.name)
        self._is_held = tool is not None and bool(tool.native)
        item = self._item("")
        self._is_custom = item["type"] == "custom_tool_call"
        self._frames = _Frames(numbers, item_id=item["id"], output_index=index)
        self._kind = "response.custom_tool_call_input" if self._is_custom else "response.function_call_arguments"
        self._head, self._middle = self._frames.delta_head(f"{self._kind}.delta")

    def begin(self) -> bytes:
        return b"" if self._is_held else self._added(self._item(""))

    def more(self, text: str, logprobs: Any) -> bytes:
        self._texts.append(text)
        return b"" if self._is_held else self._delta(text)

    def end(self, *, is_cut: bool) -> tuple[bytes, output.Item | None]:
        item = self._item("".join(self._texts))
        member = "input" if item["type"] == "custom_tool_call" else "arguments"
        sent = self._added(item) if self._is_held else b""
        if member in item:
            text = item[member]
            if text and (self._is_held or not self._texts):
                sent += self._delta(text)
            sent += self._frames.frame(f"{self._kind}.done", **{member: text})
        if is_cut:
            item["status"] = "incomplete"
        return sent + self._frames.item_frame("response.output_item.done", self.index, item), item

    def _item(self, arguments: str) -> output.Item:
        call = self._call
        return self._calls.item(self._ids, self.index, call.id, call.name, arguments, is_custom=call.is_custom)

    def _added(self, item: output.Item) -> bytes:
        begun = {**item, "status": "in_progress"}
        for member in ("arguments", "input"):
            if member in begun:
                begun[member] = ""
        return self._frames.item_frame("response.output_item.added", self.index, begun)

    def _delta(self, text: str) -> bytes:
        return b"%b%d%b%b}\n\n" % (self._head, self._numbers.take(), self._middle, _ENCODE(text))
