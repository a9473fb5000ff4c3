"""One Messages stream on its way to the caller."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.core.errors import GatewayError
from apps.dialects.anthropic_messages.error import error_event
from apps.dialects.anthropic_messages.reply import hear_block
from apps.dialects.anthropic_messages.usage import UsageMeter, render_usage
from apps.dialects.common.json_body import NULL
from apps.dialects.common.json_reply import ReplyFields, decode, open_fields, render
from apps.dialects.common.metering import hear_texts, seal_bytes
from apps.dialects.common.relay import EventRelay
from apps.dialects.common.sse import Event, frame_of

PING: Final = frame_of(b"ping", b'{"type": "ping"}')
_DELTA_TEXTS: Final = ("text", "partial_json", "thinking")


class _Event(msgspec.Struct):
    type: str = ""
    index: int | None = None
    delta: dict[str, Any] | None = None
    content_block: dict[str, Any] | None = None
    usage: object = None
    message: Raw = NULL
    error: object = None


_EVENT: Final = msgspec.json.Decoder(_Event)


class MessagesRelay(EventRelay):
    """Pass Messages events on as they came; withhold everything from `message_delta` on.

    Shape:  message_start, content_block_*, ping  -> at once, `message.model` set in the first
            message_delta, message_stop           -> withheld until `finish`; `hypereal` at the last delta's top level
    """

    def __init__(self, *, model_id: str | None) -> None:
        super().__init__()
        self._model_id = model_id
        self._meter = UsageMeter()
        self._withheld: list[tuple[bytes, ReplyFields | bytes]] = []
        self._open_block: int | None = None
        self._shows_thinking = False

    def ping(self) -> bytes:
        return PING

    def finish(self, hypereal: bytes) -> bytes:
        if not self.state.is_complete:
            self._cut_short()
        deltas = [body for _, body in self._withheld if isinstance(body, dict)]
        if deltas:
            deltas[-1]["hypereal"] = Raw(hypereal)
        rest = b"".join(
            frame_of(name, render(body) if isinstance(body, dict) else body) for name, body in self._withheld
        )
        self.state.relayed_bytes += len(rest)
        return rest

    def fail(self, error: GatewayError, *, request_id: str) -> bytes:
        return error_event(error, request_id=request_id)

    def _take(self, event: Event) -> bytes:
        state = self.state
        parsed = _EVENT.decode(event.data)
        kind = parsed.type
        if kind == "content_block_delta":
            self._hear(parsed.index or 0, parsed.delta or {})
        elif kind == "content_block_start":
            self._open_block = parsed.index
            self._shows_thinking = False
            hear_block(state.said, parsed.index or 0, parsed.content_block)
        elif kind == "content_block_stop":
            self._open_block = None
        elif kind == "message_start":
            return self._start(event, parsed)
        elif kind == "message_delta":
            self._meter.add(parsed.usage)
            self._read_meter()
            state.is_withholding = True
            self._withheld.append((event.name, open_fields(event.data)))
            return b""
        elif kind == "message_stop":
            state.is_withholding = state.is_complete = True
        elif kind == "error" or parsed.error:
            return self._fail_with(parsed.error)
        if not state.is_withholding:
            return event.frame
        if kind != "ping":
            self._withheld.append((event.name, event.data))
        return b""

    def _hear(self, index: int, delta: dict[str, Any]) -> None:
        hear_texts(self.state.said, index, delta, _DELTA_TEXTS)
        if "thinking" in delta:
            self._shows_thinking = True
        elif "signature" in delta and not self._shows_thinking:
            # Thinking that is not shown: its encrypted form is all there is to measure.
            self.state.said.seal(seal_bytes(delta["signature"]))

    def _start(self, event: Event, parsed: _Event) -> bytes:
        fields = open_fields(event.data)
        message = open_fields(parsed.message)
        if "usage" in message:
            self._meter.add_prompt(decode(message["usage"]))
            self._read_meter()
        if self._model_id is None:
            return event.frame
        message["model"] = self._model_id
        fields["message"] = message
        return frame_of(event.name, render(fields))

    def _read_meter(self) -> None:
        self.state.usage = self._meter.read()
        self.state.counts_output = self._meter.counts_output

    def _cut_short(self) -> None:
        """The end of a stream that we, not the upstream, stopped: like one that reached its maximum length."""
        if self._open_block is not None:
            stop = {"type": "content_block_stop", "index": self._open_block}
            self._withheld.append((b"content_block_stop", msgspec.json.encode(stop)))
        if not any(isinstance(body, dict) for _, body in self._withheld):
            usage = self.state.usage
            self._withheld.append(
                (
                    b"message_delta",
                    {
                        "type": "message_delta",
                        "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
                        "usage": render_usage(usage) if usage is not None else {"output_tokens": 0},
                    },
                )
            )
        self._withheld.append((b"message_stop", b'{"type":"message_stop"}'))
