"""One call between a caller of one dialect and an upstream of another: the same steps as where both speak the same.

Shape:  caller's body -> Conversation -> upstream's body;  upstream's reply -> Answer -> caller's reply;
        upstream's events -> hub events -> caller's events
"""

from __future__ import annotations

from collections.abc import Sequence

from apps.core.errors import GatewayError
from apps.dialects.common import scrub
from apps.dialects.common.caching import needs_mark
from apps.dialects.common.notes import fit_all
from apps.dialects.common.relay import EventRelay
from apps.dialects.common.sse import Event
from apps.dialects.hub.answer import Answer
from apps.dialects.hub.conversation import CacheMark, Conversation, Image, Part, Refusal, Text, Thinking, ToolCall
from apps.dialects.hub.events import BlockBegin, Delta, Done, Drawn, Ended, Failed, HubEvent, Sealed, UsageRead
from apps.dialects.hub.protocol import CallerSide, StreamReader, StreamWriter, UpstreamSide
from apps.dialects.hub.sent import Restorer, restore_answer
from apps.dialects.hub.unoffered import Wrapper, as_functions
from apps.dialects.protocol import Reply, Request, StreamRelay
from apps.dialects.said import Said


class Exchange:
    """A call that is translated. Made once the upstream's dialect is known; raises what `read_conversation` raises."""

    is_translated = True

    def __init__(
        self, caller: CallerSide, upstream: UpstreamSide, request: Request, *, keeps_cache_marks: bool = True
    ) -> None:
        self.spoken = upstream.name
        self._caller = caller
        self._upstream = upstream
        self._request = request
        self._answer: Answer | None = None
        self._upstream_model = request.model_id
        self.conversation = caller.read_conversation(request)
        self.conversation.keeps_cache_marks = keeps_cache_marks
        self.conversation.cache_key = request.cache_key or ""
        if needs_mark(request):
            self.conversation.cache = CacheMark()

    @property
    def adapted(self) -> tuple[str, ...]:
        """What was changed on the way, for X-Hypereal-Adapted; complete once the upstream's body was written."""
        return fit_all((*self._request.adapted, *self.conversation.adapted))

    def upstream_path(self, *, upstream_model: str) -> str:
        return self._upstream.path(upstream_model=upstream_model, is_stream=self.conversation.is_stream)

    def upstream_body(self, *, upstream_model: str, max_tokens: int | None, account_tag: str) -> bytes:
        """Raises: UnsupportedField, for meaning that the upstream's dialect cannot say."""
        conversation = self.conversation
        conversation.adapted.clear()
        conversation.sent.clear()
        conversation.answer_tool = ""
        self._upstream_model = upstream_model
        return self._upstream.write_conversation(
            conversation, upstream_model=upstream_model, max_tokens=max_tokens, account_tag=account_tag
        )

    def forget_reasoning(self) -> bool:
        """Write no reasoning of earlier answers from now on; False where there is none."""
        conversation = self.conversation
        has_thoughts = False
        for turn in conversation.turns:
            kept: list[Part] = [part for part in turn.parts if not isinstance(part, Thinking)]
            has_thoughts = has_thoughts or len(kept) < len(turn.parts)
            turn.parts = kept
        if has_thoughts:
            conversation.turns = [turn for turn in conversation.turns if turn.parts]
            conversation.unread = (*conversation.unread, "reasoning of earlier answers")
        return has_thoughts

    def read_reply(self, body: bytes) -> Reply:
        """Raises: ValueError, where it is no reply of the upstream's dialect."""
        answer = self._answer = self._read(body)
        parts = [part for choice in answer.choices for part in choice.parts]
        return Reply(
            usage=answer.usage,
            said=_said(parts),
            failure=answer.failure,
            images=sum(isinstance(part, Image) for part in parts),
        )

    def render_reply(self, body: bytes, *, model_id: str | None, hypereal: bytes) -> bytes:
        """The reply that `read_reply` read, in the caller's dialect. `model_id` None: under the upstream's name."""
        answer = self._answer if self._answer is not None else self._read(body)
        shown = model_id or self._upstream_model
        return self._caller.write_answer(answer, self.conversation, model_id=shown, hypereal=hypereal)

    def relay(self, *, model_id: str | None) -> StreamRelay:
        shown = model_id or self._upstream_model
        reader = self._upstream.stream_reader(self.conversation)
        writer = self._caller.stream_writer(self._request, self.conversation, model_id=shown)
        conversation = self.conversation
        is_changed = bool(conversation.sent or conversation.answer_tool)
        return TranslatingRelay(reader, writer, conversation, Restorer(conversation) if is_changed else None)

    def _read(self, body: bytes) -> Answer:
        return as_functions(restore_answer(self._upstream.read_answer(body), self.conversation), self.conversation)

    def read_error(self, status: int, body: bytes) -> str:
        return scrub.read_error(status, body)


class TranslatingRelay(EventRelay):
    """A stream on its way from a reader to a writer, metered in between."""

    def __init__(
        self,
        reader: StreamReader,
        writer: StreamWriter,
        conversation: Conversation | None = None,
        restorer: Restorer | None = None,
    ) -> None:
        super().__init__()
        self._wrapper = Wrapper(conversation or Conversation([]))
        self._restorer = restorer
        self._reader = reader
        self._writer = writer

    def end(self) -> bytes:
        relayed = super().end()
        state = self.state
        if state.failure is None and not state.is_complete:
            relayed += self._pass_on(self._reader.end())
        return relayed

    def finish(self, hypereal: bytes) -> bytes:
        rest = self._writer.finish(usage=self.state.usage, hypereal=hypereal)
        self.state.relayed_bytes += len(rest)
        return rest

    def fail(self, error: GatewayError, *, request_id: str) -> bytes:
        return self._writer.fail(error, request_id=request_id)

    def ping(self) -> bytes:
        return self._writer.ping()

    def _take(self, event: Event) -> bytes:
        return self._pass_on(self._reader.feed(event))

    def _pass_on(self, events: Sequence[HubEvent]) -> bytes:
        if self._restorer is not None:
            events = self._restorer.restore(events)
        state, write = self.state, self._writer.write
        wrapper = self._wrapper
        if len(events) == 1 and type(only := events[0]) is Delta and not wrapper.open:
            # Nearly all of a stream.
            state.said.hear((only.choice, only.block), only.text)
            return write(only)
        if wrapper.open or any(map(_is_free_text, events)):
            events = wrapper.wrap(events)
        sent = b""
        for event in events:
            kind = type(event)
            if kind is Delta:
                state.said.hear((event.choice, event.block), event.text)  # type: ignore[union-attr]
            elif kind is UsageRead:
                state.usage = event.usage  # type: ignore[union-attr]
                state.counts_output = event.counts_output  # type: ignore[union-attr]
                continue
            elif kind is Done:
                state.is_complete = True
                break
            elif kind is Failed:
                state.failure = event.message  # type: ignore[union-attr]
                state.failure_is_overload = event.is_overload  # type: ignore[union-attr]
                break
            elif kind is Ended:
                state.is_withholding = True
            elif kind is Drawn:
                state.images += 1
            elif kind is Sealed and event.seal.kind != "signature":  # type: ignore[union-attr]
                state.said.seal(len(event.seal.payload))  # type: ignore[union-attr]
            sent += write(event)
        return sent


def _is_free_text(event: HubEvent) -> bool:
    return type(event) is BlockBegin and event.is_custom


def _said(parts: Sequence[Text | Thinking | Refusal | ToolCall | Image]) -> Said:
    """What an estimate counts where the upstream counted nothing."""
    said = Said()
    for index, part in enumerate(parts):
        if isinstance(part, ToolCall):
            said.hear(index, part.name)
            said.hear(index, part.arguments)
        elif isinstance(part, Thinking) and part.seal is not None and not part.text:
            said.seal(len(part.seal.payload))
        elif not isinstance(part, Image):
            said.hear(index, part.text)
    return said
