"""One Responses stream on its way to the caller."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from apps.core.errors import GatewayError
from apps.dialects.common.json_body import NULL
from apps.dialects.common.json_reply import ReplyFields, decode, open_fields, render
from apps.dialects.common.metering import hear_texts
from apps.dialects.common.relay import EventRelay
from apps.dialects.common.sse import Event, frame_of
from apps.dialects.openai_responses.error import error_events
from apps.dialects.openai_responses.reply import hear_sealed, shown_fields, states_of
from apps.dialects.openai_responses.usage import read_response_usage, render_usage

TERMINAL: Final = frozenset({"response.completed", "response.incomplete"})
FAILED: Final = frozenset({"response.failed", "response.cancelled", "error"})
_OPENING: Final = frozenset({"response.created", "response.queued", "response.in_progress"})
_DONE: Final = b"[DONE]"
_SUMMARY: Final = "response.reasoning_summary_text.delta"
_NAME: Final = "name"


class _Event(msgspec.Struct):
    type: str = ""
    sequence_number: int = 0
    output_index: int | None = None
    delta: object = None
    response: Raw = NULL
    item: Raw = NULL
    message: object = None
    code: object = None
    error: object = None


class _Failed(msgspec.Struct):
    error: object = None


_EVENT: Final = msgspec.json.Decoder(_Event)
_FAILED: Final = msgspec.json.Decoder(_Failed)


class ResponsesRelay(EventRelay):
    """Pass Responses events on as they came, the response's `model` set; withhold the terminal event.

    Shape:  {"type": "response.completed", "response": {…}}  -> withheld; `hypereal` inside `response`
    `response.incomplete` is a success that reached its maximum; `response.failed` and `error` are failures.
    """

    def __init__(self, *, model_id: str | None, is_stored: bool = False) -> None:
        super().__init__()
        self._model_id = model_id
        self._is_stored = is_stored
        self._name = b""
        self._terminal: ReplyFields | None = None
        self._response: ReplyFields = {}
        self._items: list[Raw] = []
        self._next_number = 0

    def finish(self, hypereal: bytes) -> bytes:
        terminal = self._cut_short() if self._terminal is None else self._terminal
        terminal["response"] = {**self._response, "hypereal": Raw(hypereal)}
        rest = frame_of(self._name, render(terminal))
        self.state.relayed_bytes += len(rest)
        return rest

    def fail(self, error: GatewayError, *, request_id: str) -> bytes:
        return error_events(error, response=self._response, sequence_number=self._next_number)

    def _take(self, event: Event) -> bytes:
        state = self.state
        if event.data == _DONE:
            return b""
        parsed = _EVENT.decode(event.data)
        kind = parsed.type or event.name.decode()
        self._next_number = parsed.sequence_number + 1
        if parsed.delta is not None:
            if isinstance(parsed.delta, str):
                state.said.hear((parsed.output_index, kind), parsed.delta)
        elif kind == "response.output_item.done":
            self._items.append(parsed.item)
            self._hear_done(parsed)
        elif kind in _OPENING:
            return self._open(event, parsed)
        elif kind in TERMINAL:
            self._withhold(event, parsed)
            return b""
        elif kind in FAILED or parsed.error:
            return self._fail_with(_error_of(parsed))
        return event.frame

    def _hear_done(self, parsed: _Event) -> None:
        """What only a whole item tells: a call's name, and reasoning in its encrypted form, which is all of it, where
        the summary that was shown is some of it."""
        said, item = self.state.said, decode(parsed.item)
        hear_texts(said, (parsed.output_index, _NAME), item, (_NAME,))
        if hear_sealed(said, item):
            said.forget((parsed.output_index, _SUMMARY))

    def _open(self, event: Event, parsed: _Event) -> bytes:
        self._response = self._named(parsed.response)
        if self._model_id is None:
            return event.frame
        return frame_of(event.name, render({**open_fields(event.data), "response": self._response}))

    def _withhold(self, event: Event, parsed: _Event) -> None:
        state = self.state
        self._response = self._named(parsed.response)
        response = decode(parsed.response)
        state.usage = read_response_usage(response)
        if self._is_stored:
            state.states = states_of(response)
        self._terminal = open_fields(event.data)
        self._name = event.name
        state.is_withholding = state.is_complete = True

    def _named(self, raw: Raw) -> ReplyFields:
        return shown_fields(raw, model_id=self._model_id)

    def _cut_short(self) -> ReplyFields:
        """The end of a stream that we, not the upstream, stopped: like one that reached its maximum length."""
        usage = self.state.usage
        self._name = b"response.incomplete"
        self._response = {
            **self._response,
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": self._items,
            "usage": render_usage(usage) if usage is not None else None,
        }
        return {"type": "response.incomplete", "sequence_number": self._next_number}


def _error_of(parsed: _Event) -> object:
    """The error as an object, from `error` (nested or flat) or from within `response.failed`."""
    if parsed.error:
        return parsed.error
    if parsed.response is not NULL:
        return _FAILED.decode(parsed.response).error
    return {"message": parsed.message, "code": parsed.code}
