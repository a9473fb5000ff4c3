"""Hub events as a Responses stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.core import clock
from apps.core.errors import GatewayError
from apps.core.tokens import TokenUsage
from apps.dialects.common.sse import COMMENT, frame_of
from apps.dialects.hub.answer import Ending
from apps.dialects.hub.conversation import Conversation
from apps.dialects.hub.events import Begin, BlockBegin, BlockEnd, Cited, Delta, Drawn, Ended, HubEvent, Sealed
from apps.dialects.openai_responses import output
from apps.dialects.openai_responses.answer import reasoning_id, refusal_text, wants_summary
from apps.dialects.openai_responses.error import error_events
from apps.dialects.openai_responses.told import CallItem, MessagePart, Numbers, ThoughtItem, Told, ToldMessage

_ENCODE: Final = msgspec.json.Encoder().encode


class ResponsesWriter:
    """See `StreamWriter`.

    Shape:  Delta(block=0, text="Hi")  ->  response.output_text.delta {"item_id": "msg_…_0", "delta": "Hi", …}
    Every block is an item that begins where the block does, and its pieces go out as they come: this protocol tells
    items apart by `output_index`, so blocks may interleave. Texts and refusals in a row are parts of one message, which
    is done once something else begins.
    """

    def __init__(self, conversation: Conversation, *, model_id: str) -> None:
        self._conversation = conversation
        self._model_id = model_id
        self._calls = output.CallShapes(conversation)
        self._shows_summary = wants_summary(conversation)
        self._numbers = Numbers()
        self._ids: output.Ids | None = None
        self._created_s = 0
        self._blocks: dict[int, Told] = {}
        self._message: ToldMessage | None = None
        self._items: list[output.Item | None] = []
        self._has_refusal = False
        self._ending: Ending | None = None

    def write(self, event: HubEvent) -> bytes:
        if type(event) is Delta:
            told = self._blocks.get(event.block)
            return told.more(event.text, event.logprobs) if told is not None and event.choice == 0 else b""
        write = _WRITERS.get(type(event))
        if write is None or getattr(event, "choice", 0) != 0:
            return b""
        return write(self, event)

    def finish(self, *, usage: TokenUsage | None, hypereal: bytes) -> bytes:
        is_cut = self._ending is None
        rest = self._start() + self._close_all(is_cut=is_cut)
        response = self._response("in_progress", [item for item in self._items if item is not None])
        status = output.close_response(response, self._ending, usage)
        response["hypereal"] = Raw(hypereal)
        return rest + self._frame(f"response.{status}", response=response)

    def fail(self, error: GatewayError, *, request_id: str) -> bytes:
        response = self._response("failed", []) if self._ids is not None else {}
        return error_events(error, response=response, sequence_number=self._numbers.next)

    def ping(self) -> bytes:
        return COMMENT

    def _begin(self, event: Begin) -> bytes:
        if self._ids is not None:
            return b""
        self._ids = output.Ids.of(event.id)
        self._created_s = event.created_s or int(clock.now().timestamp())
        return self._frame("response.created", response=self._response("in_progress", [])) + self._frame(
            "response.in_progress", response=self._response("in_progress", [])
        )

    def _block_begin(self, event: BlockBegin) -> bytes:
        sent = self._start()
        if event.kind in ("text", "refusal"):
            self._has_refusal = self._has_refusal or event.kind == "refusal"
            if self._message is None:
                self._message = ToldMessage(self._numbers, *self._next_item("msg"))
                sent += self._message.begin()
            part = MessagePart(self._message, is_refusal=event.kind == "refusal")
            self._blocks[event.block] = part
            return sent + part.begin()
        sent += self._end_message()
        told: Told
        if event.kind == "thinking":
            index = self._next_index()
            item_id = reasoning_id(event.id, self._known_ids(), index)
            told = ThoughtItem(self._numbers, index, item_id, is_summary=event.is_summary or self._shows_summary)
        else:
            told = CallItem(self._numbers, self._calls, self._known_ids(), self._next_index(), event)
        self._blocks[event.block] = told
        return sent + told.begin()

    def _sealed(self, event: Sealed) -> bytes:
        told = self._blocks.get(event.block)
        if isinstance(told, ThoughtItem):
            told.seal = event.seal
        return b""

    def _cited(self, event: Cited) -> bytes:
        told = self._blocks.get(event.block)
        return told.cite(event.citation) if isinstance(told, MessagePart) else b""

    def _drawn(self, event: Drawn) -> bytes:
        sent = self._start() + self._end_message()
        index, item_id = self._next_item("ig")
        image = event.image
        item = output.drawing_item(item_id, image.media_type, image.data or image.url)
        self._items[index] = item
        where = {"item_id": item_id, "output_index": index}
        begun = {"id": item_id, "type": "image_generation_call", "status": "in_progress"}
        return b"".join(
            (
                sent,
                self._frame("response.output_item.added", output_index=index, item=begun),
                self._frame("response.image_generation_call.in_progress", **where),
                self._frame("response.image_generation_call.completed", **where),
                self._frame("response.output_item.done", output_index=index, item=item),
            )
        )

    def _block_end(self, event: BlockEnd) -> bytes:
        told = self._blocks.pop(event.block, None)
        return self._end(told) if told is not None else b""

    def _ended(self, event: Ended) -> bytes:
        """The end itself waits for the settlement; what was open before it does not."""
        self._ending = event.ending
        sent = self._start() + self._close_all(is_cut=False)
        if event.ending.reason == "refusal" and not self._has_refusal:
            text = refusal_text(event.ending.details)
            begun = BlockBegin(-1, "refusal")
            sent += self._block_begin(begun) + self._blocks[-1].more(text, None) + self._close_all(is_cut=False)
        return sent

    def _start(self) -> bytes:
        return self._begin(Begin("")) if self._ids is None else b""

    def _close_all(self, *, is_cut: bool) -> bytes:
        sent = b"".join(self._end(told, is_cut=is_cut) for told in self._blocks.values())
        self._blocks.clear()
        return sent + self._end_message(is_cut=is_cut and bool(sent))

    def _end(self, told: Told, *, is_cut: bool = False) -> bytes:
        sent, item = told.end(is_cut=is_cut)
        if item is not None:
            self._items[told.index] = item
        return sent

    def _end_message(self, *, is_cut: bool = False) -> bytes:
        """The message that is open is done, unless a part of it is not: interleaved, it ends with that part."""
        message, self._message = self._message, None
        if message is None:
            return b""
        sent, item = message.finish(is_cut=is_cut)
        if item is not None:
            self._items[message.index] = item
        return sent

    def _next_item(self, kind: str) -> tuple[int, str]:
        index = self._next_index()
        return index, self._known_ids().item(kind, index)

    def _next_index(self) -> int:
        self._items.append(None)
        return len(self._items) - 1

    def _known_ids(self) -> output.Ids:
        assert self._ids is not None
        return self._ids

    def _response(self, status: str, items: list[Any]) -> output.Item:
        return output.response_object(
            self._known_ids(),
            self._conversation,
            model_id=self._model_id,
            created_s=self._created_s,
            status=status,
            output=items,
        )

    def _frame(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._numbers.take(), **fields}
        return frame_of(kind.encode(), _ENCODE(event))


_WRITERS: Final[dict[type, Callable[[ResponsesWriter, Any], bytes]]] = {
    Begin: ResponsesWriter._begin,
    BlockBegin: ResponsesWriter._block_begin,
    BlockEnd: ResponsesWriter._block_end,
    Sealed: ResponsesWriter._sealed,
    Cited: ResponsesWriter._cited,
    Drawn: ResponsesWriter._drawn,
    Ended: ResponsesWriter._ended,
}
"""What is not here (usage, failures) the gateway hands over by other ways."""
