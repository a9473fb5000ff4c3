"""Hub events as a caller's chat stream."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.core import clock
from apps.core.errors import GatewayError
from apps.core.tokens import TokenUsage
from apps.dialects.common.data_url import data_url
from apps.dialects.common.sse import COMMENT, frame_of
from apps.dialects.hub.answer import Ending
from apps.dialects.hub.conversation import Image, Thinking
from apps.dialects.hub.events import Begin, BlockBegin, BlockEnd, BlockKind, Delta, Drawn, Ended, HubEvent, Sealed
from apps.dialects.hub.reasoning import GEMINI
from apps.dialects.openai_chat.answer import show_id
from apps.dialects.openai_chat.details import write_details
from apps.dialects.openai_chat.endings import explanation_of, write_ending
from apps.dialects.openai_chat.error import error_event
from apps.dialects.openai_chat.events import DONE
from apps.dialects.openai_chat.usage import render_usage

_MEMBERS: Final[dict[BlockKind, bytes]] = {
    "text": b'{"content":',
    "thinking": b'{"reasoning_content":',
    "refusal": b'{"refusal":',
}
_CUT_SHORT: Final = Ending("length")
_encode: Final = msgspec.json.Encoder().encode


class _Choice:
    """What one choice has shown so far."""

    __slots__ = ("calls", "details", "ending", "has_refusal", "has_text", "images", "signatures")

    def __init__(self) -> None:
        self.calls = 0
        self.images = 0
        self.details = 0
        self.has_refusal = False
        self.has_text = False
        self.ending: Ending | None = None
        self.signatures: dict[str, str] = {}


class ChatWriter:
    """See `StreamWriter`.

    Shape:  Delta(block=0, text="Hi")  ->  data: {…,"choices":[{"index":0,"delta":{"content":"Hi"},…}]}
    A block's bytes up to its text are made once, when it begins: a delta is one encoded string between two constants.
    """

    def __init__(self, *, model_id: str, wants_usage: bool, wants_logprobs: bool = False) -> None:
        self._model_id = model_id
        self._wants_usage = wants_usage
        self._wants_logprobs = wants_logprobs
        self._head = b""
        self._tail = b""
        self._choices: dict[int, _Choice] = {}
        self._heads: dict[tuple[int, int], tuple[bytes, bytes]] = {}
        """By (choice, block): the bytes before a delta's text, and those behind it."""
        self._thoughts: dict[tuple[int, int], Thinking] = {}
        self._texts: dict[tuple[int, int], list[str]] = {}
        """Of thoughts: their seal comes last, and the text is told once more with it."""
        self._silent: set[tuple[int, int]] = set()
        """Calls without arguments so far."""
        self._set_head(Begin(""))

    def write(self, event: HubEvent) -> bytes:
        if type(event) is Delta:
            key = (event.choice, event.block)
            head, tail = self._heads[key]
            text = _encode(event.text)
            if self._silent:
                self._silent.discard(key)
            if event.logprobs is not None and self._wants_logprobs:
                return head + text + self._tail_with(event.logprobs)
            if key in self._texts:
                self._texts[key].append(event.text)
            return head + text + tail
        if type(event) is BlockBegin:
            return self._begin_block(event)
        if type(event) is Begin:
            self._set_head(event)
            return self._choice(0)[1]
        if type(event) is Sealed:
            return self._seal(event)
        if type(event) is Drawn:
            return self._draw(event.image, event.choice)
        if type(event) is BlockEnd:
            return self._end_block((event.choice, event.block))
        if type(event) is Ended:
            choice, opening = self._choice(event.choice)
            choice.ending = event.ending
            return opening
        return b""

    def finish(self, *, usage: TokenUsage | None, hypereal: bytes) -> bytes:
        if not self._choices:
            self._choice(0)
        frames: list[dict[str, Any]] = []
        for index, choice in sorted(self._choices.items()):
            frames += self._last_chunks(index, choice)
        if self._wants_usage:
            for frame in frames:
                frame["usage"] = None
            frames.append({"choices": [], "usage": render_usage(usage) if usage is not None else None})
        frames[-1]["hypereal"] = Raw(hypereal)
        written = [frame_of(b"", self._head[6:] + _encode(frame)[1:]) for frame in frames]
        return b"".join(written) + frame_of(b"", DONE)

    def _last_chunks(self, index: int, choice: _Choice) -> list[dict[str, Any]]:
        """Why the choice ended; before it why the model refused, where that was said beside the answer."""
        ended = choice.ending or _CUT_SHORT
        logprobs = {"logprobs": None} if self._wants_logprobs else {}
        chunks: list[dict[str, Any]] = []
        refusal = "" if choice.has_refusal else explanation_of(ended)
        if refusal:
            delta = {"index": index, "delta": {"refusal": refusal}, **logprobs, "finish_reason": None}
            chunks.append({"choices": [delta]})
        ending = write_ending(
            ended,
            has_calls=choice.calls > 0,
            has_refusal=choice.has_refusal or bool(refusal),
            has_text=choice.has_text,
        )
        return [*chunks, {"choices": [{"index": index, "delta": {}, **logprobs, **ending}]}]

    def fail(self, error: GatewayError, *, request_id: str) -> bytes:
        return error_event(error)

    def ping(self) -> bytes:
        return COMMENT

    def _set_head(self, begin: Begin) -> None:
        envelope = {
            "id": show_id(begin.id),
            "object": "chat.completion.chunk",
            "created": begin.created_s or int(clock.now().timestamp()),
            "model": self._model_id,
        }
        self._head = b"data: " + _encode(envelope)[:-1] + b","
        logprobs = b'"logprobs":null,' if self._wants_logprobs else b""
        usage = b',"usage":null}\n\n' if self._wants_usage else b"}\n\n"
        self._tail = b"}," + logprobs + b'"finish_reason":null}]' + usage

    def _tail_with(self, logprobs: Any) -> bytes:
        shown = b"}," + _encode({"logprobs": {"content": logprobs, "refusal": None}})[1:-1] + b","
        return shown + self._tail.removeprefix(b'},"logprobs":null,')

    def _delta(self, index: int, delta: dict[str, Any]) -> bytes:
        return self._opening(index) + _encode(delta)[:-1] + self._tail

    def _opening(self, index: int) -> bytes:
        return self._head + b'"choices":[{"index":%d,"delta":' % index

    def _choice(self, index: int) -> tuple[_Choice, bytes]:
        """The choice, and where it is new the chunk that begins it."""
        choice = self._choices.get(index)
        if choice is not None:
            return choice, b""
        choice = self._choices[index] = _Choice()
        return choice, self._delta(index, {"role": "assistant", "content": ""})

    def _begin_block(self, event: BlockBegin) -> bytes:
        choice, opening = self._choice(event.choice)
        key = (event.choice, event.block)
        if event.kind == "tool_call":
            return opening + self._begin_call(event, choice)
        if event.kind == "refusal":
            choice.has_refusal = True
        elif event.kind == "text":
            choice.has_text = True
        elif event.kind == "thinking":
            self._texts[key] = []
            self._thoughts[key] = Thinking(is_summary=event.is_summary, id=event.id)
        self._heads[key] = (self._opening(event.choice) + _MEMBERS[event.kind], self._tail)
        return opening

    def _begin_call(self, event: BlockBegin, choice: _Choice) -> bytes:
        place, kind, member = choice.calls, "function", "arguments"
        choice.calls += 1
        if event.is_custom:
            kind, member = "custom", "input"
        else:
            self._silent.add((event.choice, event.block))
        call: dict[str, Any] = {"index": place, "id": event.id, "type": kind, kind: {"name": event.name, member: ""}}
        signature = choice.signatures.get(event.id)
        if signature is not None:
            call["extra_content"] = {"google": {"thought_signature": signature}}
        before = f'{{"tool_calls":[{{"index":{place},"{kind}":{{"{member}":'.encode()
        self._heads[event.choice, event.block] = (self._opening(event.choice) + before, b"}}]" + self._tail)
        return self._delta(event.choice, {"tool_calls": [call]})

    def _end_block(self, key: tuple[int, int]) -> bytes:
        self._texts.pop(key, None)
        if key not in self._silent:
            return b""
        self._silent.remove(key)
        head, tail = self._heads[key]
        return head + b'"{}"' + tail

    def _seal(self, event: Sealed) -> bytes:
        """The whole thought once more with its seal: clients send back what they got here."""
        choice = self._choices[event.choice]
        key = (event.choice, event.block)
        if key not in self._thoughts:
            return b""
        thought = self._thoughts[key]
        thought.text, thought.seal = "".join(self._texts.get(key, ())), event.seal
        if event.seal.family == GEMINI and event.seal.item_id:
            choice.signatures[event.seal.item_id] = event.seal.payload
        details = write_details(thought, choice.details)
        choice.details += len(details)
        return self._delta(event.choice, {"reasoning_details": details})

    def _draw(self, image: Image, index: int) -> bytes:
        """An image may be megabytes: where it came as JSON it is copied once, into the frame."""
        choice, opening = self._choice(index)
        url = _encode(image.url) if image.url else _encode(data_url(image.media_type, ""))[:-1]
        head = b'{"images":[{"type":"image_url","index":%d,"image_url":{"url":' % choice.images
        choice.images += 1
        encoded = image.data if isinstance(image.data, Raw) else _encode(image.data)
        data = b"" if image.url else memoryview(encoded)[1:]
        return b"".join((opening, self._opening(index), head, url, data, b"}}]", self._tail))
