"""One chat stream on its way to the caller."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from apps.core.errors import GatewayError
from apps.dialects.common.json_reply import ReplyFields, decode, decode_as, open_fields, render
from apps.dialects.common.relay import EventRelay
from apps.dialects.common.sse import Event, frame_of
from apps.dialects.openai_chat.error import error_event
from apps.dialects.openai_chat.reply import Message, count_images, hear_message
from apps.dialects.openai_chat.usage import read_usage, render_usage
from apps.dialects.protocol import Request

DONE: Final = b"[DONE]"
_ENVELOPE: Final = ("id", "object", "created", "model")


class _Choice(msgspec.Struct):
    index: int = 0
    delta: Message | None = None
    finish_reason: str | None = None
    usage: object = None


_CHOICES: Final = msgspec.json.Decoder(list[_Choice] | None)


class ChatRelay(EventRelay):
    """Pass chat chunks on under the caller's model id; withhold each choice's end and what follows the last one.

    Shape:  {"choices": [{"delta": {}, "finish_reason": "stop"}]}  -> withheld until `finish`
    Complete once `[DONE]` came after a finished choice, or the upstream ended with every choice finished: usage may
    come as late as just before `[DONE]`, or in the last chunk of a provider that sends none.
    """

    def __init__(self, request: Request, *, model_id: str | None) -> None:
        super().__init__()
        self._model_id = model_id
        self._wants_usage = request.wants_usage
        self._unfinished = set(range(request.n))
        self._withholds_all = False
        self._withheld: list[ReplyFields] = []
        self._last_finish: ReplyFields | None = None
        self._last_usage: ReplyFields | None = None
        self._newest: ReplyFields = {}

    def end(self) -> bytes:
        relayed = super().end()
        if self.state.failure is None and not self._unfinished:
            self.state.is_complete = True
        return relayed

    def finish(self, hypereal: bytes) -> bytes:
        if self._unfinished:
            self._withheld.append(self._cut_short())
        if self._wants_usage and self._last_usage is None:
            self._withheld.append(self._usage_chunk())
        holder = self._last_usage if self._wants_usage else self._last_finish
        if holder is not None:
            holder["hypereal"] = Raw(hypereal)
        rest = b"".join(frame_of(b"", render(fields)) for fields in self._withheld) + frame_of(b"", DONE)
        self.state.relayed_bytes += len(rest)
        return rest

    def fail(self, error: GatewayError, *, request_id: str) -> bytes:
        return error_event(error)

    def _take(self, event: Event) -> bytes:
        state = self.state
        if event.data == DONE:
            state.is_complete = state.is_withholding
            return b""
        fields = open_fields(event.data)
        if "error" in fields and (error := decode(fields["error"])):
            return self._fail_with(error)
        choices = decode_as(_CHOICES, fields["choices"]) or [] if "choices" in fields else []
        finishes = self._read_choices(choices)
        shows_usage = self._meter(fields, choices)
        self._newest = fields
        if self._model_id is not None:
            fields["model"] = self._model_id
        if not self._wants_usage:
            fields.pop("usage", None)
            if shows_usage and not choices:
                return b""
        if not finishes and not self._withholds_all:
            return frame_of(b"", render(fields))
        state.is_withholding = True
        self._withheld.append(fields)
        if finishes:
            self._last_finish = fields
            # With several choices in one chunk, text that is withheld must not be overtaken by what follows it.
            self._withholds_all = not self._unfinished or len(choices) > 1
        if shows_usage:
            self._last_usage = fields
        return b""

    def _read_choices(self, choices: list[_Choice]) -> bool:
        """Keep what the choices say; return whether one of them ends here."""
        finishes = False
        for choice in choices:
            if choice.delta is not None:
                hear_message(self.state.said, choice.index, choice.delta)
                self.state.images += count_images(choice.delta)
            if choice.finish_reason is not None:
                finishes = True
                self._unfinished.discard(choice.index)
        return finishes

    def _meter(self, fields: ReplyFields, choices: list[_Choice]) -> bool:
        """Keep the last usage that is not null; return whether it stands at the chunk's top level."""
        if "usage" in fields and self._keep(decode(fields["usage"])):
            return True
        for choice in choices:
            if choice.usage:
                self._keep(choice.usage)
        if "x_groq" in fields:
            extras = decode(fields["x_groq"])
            self._keep(extras.get("usage") if isinstance(extras, dict) else None)
        return False

    def _keep(self, counts: object) -> bool:
        usage = read_usage(counts) if isinstance(counts, dict) else None
        if usage is None:
            return False
        self.state.usage = usage
        return True

    def _envelope(self) -> ReplyFields:
        return {name: self._newest[name] for name in _ENVELOPE if name in self._newest}

    def _cut_short(self) -> ReplyFields:
        """The end of a stream that we, not the upstream, stopped: like one that reached its maximum length."""
        choices = [{"index": index, "delta": {}, "finish_reason": "length"} for index in sorted(self._unfinished)]
        self._last_finish = {**self._envelope(), "choices": choices}
        return self._last_finish

    def _usage_chunk(self) -> ReplyFields:
        """The chunk that the caller asked for where the upstream sent none; of what is metered or estimated by now."""
        usage = self.state.usage
        shown = render_usage(usage) if usage is not None else None
        self._last_usage = {**self._envelope(), "choices": [], "usage": shown}
        return self._last_usage
