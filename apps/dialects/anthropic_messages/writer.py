"""Hub events as a Messages stream for a caller."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.core.errors import GatewayError
from apps.core.tokens import TokenUsage
from apps.dialects.anthropic_messages.answer import NO_USAGE, image_block, message_id
from apps.dialects.anthropic_messages.endings import CUT_SHORT, write_ending
from apps.dialects.anthropic_messages.error import error_event
from apps.dialects.anthropic_messages.sealed import write_redacted, write_signature
from apps.dialects.anthropic_messages.stream import PING
from apps.dialects.anthropic_messages.usage import render_usage
from apps.dialects.common.sse import frame_of
from apps.dialects.hub.answer import Ending
from apps.dialects.hub.events import Begin, BlockBegin, BlockEnd, BlockKind, Delta, Drawn, Ended, HubEvent, Sealed
from apps.dialects.hub.reasoning import ENCRYPTED, Seal

_ENCODE: Final = msgspec.json.Encoder().encode
_HEAD: Final = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b'
_DELTA_TAIL: Final = b"}}\n\n"
_FIELDS: Final = {
    "text": b'"text_delta","text":',
    "refusal": b'"text_delta","text":',
    "thinking": b'"thinking_delta","thinking":',
    "tool_call": b'"input_json_delta","partial_json":',
}
_BLOCK_EVENTS: Final = frozenset({BlockBegin, Delta, Sealed, BlockEnd})
_MESSAGE_STOP: Final = frame_of(b"message_stop", b'{"type":"message_stop"}')


class MessagesWriter:
    """One open block at a time, in the order in which the hub's blocks began; what others say is held back until their
    turn comes.

    Shape:  Delta(0, "Hi")  ->  content_block_delta {"index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
    A text or a thought is opened with its first words: one that stays empty leaves no block behind.
    """

    def __init__(self, *, model_id: str) -> None:
        self._model_id = model_id
        self._is_started = False
        self._next_index = 0
        self._turn: int | None = None
        """The hub's block whose turn it is; the fields below are about it."""
        self._kind: BlockKind = "text"
        self._is_open = False
        """Whether the caller has seen its start."""
        self._is_plain = False
        """Whether its deltas need no more than to be framed; a refusal is also told of at the end."""
        self._head = b""
        """Its delta up to the text."""
        self._seal: Seal | None = None
        self._waiting: dict[int, list[HubEvent]] = {}
        """Blocks whose turn will come, in the order in which they began."""
        self._drawn = 0
        self._refusal: list[str] = []
        self._has_calls = False
        self._ending: Ending | None = None

    def write(self, event: HubEvent) -> bytes:
        kind = type(event)
        if kind is Delta and event.block == self._turn and self._is_plain and not event.choice:  # type: ignore[union-attr]
            return self._head + _ENCODE(event.text) + _DELTA_TAIL  # type: ignore[union-attr]
        if kind is Begin:
            return self._start(event)  # type: ignore[arg-type]
        if getattr(event, "choice", 0):
            return b""  # `n` was refused: there is one answer
        if kind is Ended:
            self._ending = event.ending  # type: ignore[union-attr]
        elif kind is Drawn:
            self._drawn += 1
            return self._take(-self._drawn, event)
        elif kind in _BLOCK_EVENTS:
            return self._take(event.block, event)  # type: ignore[union-attr]
        return b""

    def finish(self, *, usage: TokenUsage | None, hypereal: bytes) -> bytes:
        rest = [self._start(Begin(""))]
        while self._turn is not None:
            rest.append(self._take(self._turn, BlockEnd(self._turn)))
        ending = write_ending(self._ending or CUT_SHORT, refusal="".join(self._refusal), has_calls=self._has_calls)
        if not self._next_index and ending["stop_reason"] == "end_turn":
            rest += [self._open({"type": "text", "text": ""}), self._close()]
        closing = {
            "type": "message_delta",
            "delta": ending,
            "usage": render_usage(usage) if usage is not None else {"output_tokens": 0},
            "hypereal": Raw(hypereal),
        }
        return b"".join([*rest, frame_of(b"message_delta", _ENCODE(closing)), _MESSAGE_STOP])

    def fail(self, error: GatewayError, *, request_id: str) -> bytes:
        return error_event(error, request_id=request_id)

    def ping(self) -> bytes:
        return PING

    def _start(self, event: Begin) -> bytes:
        """`message_start`, once; with zeros where the upstream counts at its end, which `message_delta` then shows."""
        if self._is_started:
            return b""
        self._is_started = True
        message: dict[str, Any] = {
            "id": message_id(event.id),
            "type": "message",
            "role": "assistant",
            "model": self._model_id,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": NO_USAGE if event.usage is None else {**render_usage(event.usage), "output_tokens": 0},
        }
        return frame_of(b"message_start", _ENCODE({"type": "message_start", "message": message}))

    def _take(self, block: int, event: HubEvent) -> bytes:
        """An event of a block: written if it is that block's turn, held back otherwise."""
        if self._turn is None:
            self._turn = block
        elif self._turn != block:
            self._waiting.setdefault(block, []).append(event)
            return b""
        return self._start(Begin("")) + self._apply(event) + self._catch_up()

    def _catch_up(self) -> bytes:
        """What waited for its turn, as long as the turn is free."""
        sent: list[bytes] = []
        while self._turn is None and self._waiting:
            self._turn = next(iter(self._waiting))
            sent += map(self._apply, self._waiting.pop(self._turn))
        return b"".join(sent)

    def _apply(self, event: HubEvent) -> bytes:
        if isinstance(event, Delta):
            return self._say(event.text) if event.text else b""
        if isinstance(event, BlockBegin):
            return self._begin(event)
        if isinstance(event, Sealed):
            self._seal = event.seal
            return b""
        self._turn = None
        if isinstance(event, Drawn):
            return self._open(image_block(event.image)) + self._close()
        return self._end()

    def _begin(self, event: BlockBegin) -> bytes:
        self._kind = event.kind
        self._seal = None
        if event.kind != "tool_call":
            return b""
        self._has_calls = True
        return self._open({"type": "tool_use", "id": event.id, "name": event.name, "input": {}}) + self._delta("")

    def _say(self, text: str) -> bytes:
        if self._kind == "refusal":
            self._refusal.append(text)
        if self._is_open:
            return self._delta(text)
        block = {"type": "text", "text": ""}
        if self._kind == "thinking":
            block = {"type": "thinking", "thinking": "", "signature": ""}
        return self._open(block) + self._delta(text)

    def _end(self) -> bytes:
        seal = self._seal
        if self._kind == "thinking" and (self._is_open or seal is not None):
            if not self._is_open and seal is not None and seal.kind == ENCRYPTED:
                return self._open({"type": "redacted_thinking", "data": write_redacted(seal)}) + self._close()
            opened = b"" if self._is_open else self._open({"type": "thinking", "thinking": "", "signature": ""})
            return opened + self._sign(write_signature(seal)) + self._close()
        return self._close() if self._is_open else b""

    def _open(self, block: dict[str, Any]) -> bytes:
        self._is_open = True
        self._is_plain = self._kind != "refusal"
        self._head = _HEAD % (self._next_index, _FIELDS[self._kind])
        started = {"type": "content_block_start", "index": self._next_index, "content_block": block}
        return frame_of(b"content_block_start", _ENCODE(started))

    def _delta(self, text: str) -> bytes:
        return self._head + _ENCODE(text) + _DELTA_TAIL

    def _sign(self, signature: str) -> bytes:
        delta = {"type": "signature_delta", "signature": signature}
        signed = {"type": "content_block_delta", "index": self._next_index, "delta": delta}
        return frame_of(b"content_block_delta", _ENCODE(signed))

    def _close(self) -> bytes:
        self._is_open = self._is_plain = False
        stop = frame_of(b"content_block_stop", b'{"type":"content_block_stop","index":%d}' % self._next_index)
        self._next_index += 1
        return stop
