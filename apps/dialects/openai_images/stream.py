"""One image stream on its way to the caller."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from apps.core.errors import GatewayError
from apps.dialects.common.json_body import NULL
from apps.dialects.common.json_reply import ReplyFields, decode, open_fields, render
from apps.dialects.common.relay import EventRelay
from apps.dialects.common.sse import Event, frame_of
from apps.dialects.openai_images.error import error_event
from apps.dialects.openai_images.usage import read_usage

COMPLETED: Final = "image_generation.completed"
_DONE: Final = b"[DONE]"


class _Event(msgspec.Struct):
    type: str = ""
    usage: Raw = NULL
    error: object = None


_EVENT: Final = msgspec.json.Decoder(_Event)


class ImagesRelay(EventRelay):
    """Pass previews on; withhold the finished image.

    Shape:  image_generation.partial_image -> at once;  image_generation.completed -> withheld, with `hypereal`
    """

    def __init__(self, *, model_id: str | None) -> None:
        super().__init__()
        self._model_id = model_id
        self._name = b""
        self._completed: ReplyFields | None = None

    def finish(self, hypereal: bytes) -> bytes:
        if self._completed is None:
            return b""
        self._completed["hypereal"] = Raw(hypereal)
        rest = frame_of(self._name, render(self._completed))
        self.state.relayed_bytes += len(rest)
        return rest

    def fail(self, error: GatewayError, *, request_id: str) -> bytes:
        return error_event(error)

    def _take(self, event: Event) -> bytes:
        if event.data == _DONE:
            return b""
        parsed = _EVENT.decode(event.data)
        kind = parsed.type or event.name.decode()
        if kind == "error" or parsed.error:
            return self._fail_with(parsed.error)
        if kind != COMPLETED:
            return event.frame
        state = self.state
        state.usage = read_usage(decode(parsed.usage))
        state.images = 1
        self._completed = open_fields(event.data)
        self._name = event.name or COMPLETED.encode()
        if self._model_id is not None and "model" in self._completed:
            self._completed["model"] = self._model_id
        state.is_withholding = state.is_complete = True
        return b""
