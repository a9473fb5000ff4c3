"""What a dialect does to take part in translation. N adapters instead of N x N translators; all of it is pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from apps.core.errors import GatewayError
from apps.core.tokens import TokenUsage
from apps.dialects.common.sse import Event
from apps.dialects.hub.answer import Answer
from apps.dialects.hub.conversation import Conversation
from apps.dialects.hub.events import HubEvent
from apps.dialects.protocol import Request


class StreamReader(Protocol):
    """An upstream's stream as hub events: feed one event, get events. One machine per stream."""

    def feed(self, event: Event) -> Sequence[HubEvent]:
        """Raises: ValueError or RecursionError, where the event's data is no JSON of this dialect."""

    def end(self) -> Sequence[HubEvent]:
        """The upstream's body ended by itself: what that means, `Done` among it where the stream was complete."""


class StreamWriter(Protocol):
    """Hub events as the caller's stream. One machine per stream.

    Everything from the withheld event on (chat's `finish_reason`, messages' `message_delta`, responses' terminal event)
    stays inside until `finish`.
    """

    def write(self, event: HubEvent) -> bytes:
        """What the caller may have now, framed; often b""."""

    def finish(self, *, usage: TokenUsage | None, hypereal: bytes) -> bytes:
        """The call is settled: close what is open, then the withheld end with usage and the `hypereal` object.

        Where no `Ended` came (we stopped the stream ourselves), the answer ends as one of maximum length.
        """

    def fail(self, error: GatewayError, *, request_id: str) -> bytes:
        """The dialect's error event that ends the stream."""

    def ping(self) -> bytes: ...


class UpstreamSide(Protocol):
    """What a dialect needs to be spoken with an upstream on behalf of a caller of another."""

    name: str
    least_maximum: int
    """The smallest maximum of output tokens that can be said in it: a smaller one is raised to this."""

    def path(self, *, upstream_model: str, is_stream: bool) -> str:
        """Joined to a route's base URL: `/chat/completions`; gemini's names the model and whether to stream."""

    def write_conversation(
        self, conversation: Conversation, *, upstream_model: str, max_tokens: int | None, account_tag: str
    ) -> bytes:
        """The body to send. What it had to change is appended to `conversation.adapted`.

        Raises: UnsupportedField, naming the caller's field, for meaning that this dialect cannot say (SPEC 2.8).
        """

    def read_answer(self, body: bytes) -> Answer:
        """Raises: ValueError, where the body is no reply of this dialect."""

    def stream_reader(self, conversation: Conversation) -> StreamReader: ...


class CallerSide(Protocol):
    """What a dialect needs to let its callers reach upstreams of another."""

    name: str

    def read_conversation(self, request: Request) -> Conversation:
        """The hub's view of a request that `parse` let through.

        Raises: InvalidRequest, where a part of it is malformed; UnsupportedField, where the hub has no word for its
        meaning.
        """

    def write_answer(self, answer: Answer, conversation: Conversation, *, model_id: str, hypereal: bytes) -> bytes: ...

    def stream_writer(self, request: Request, conversation: Conversation, *, model_id: str) -> StreamWriter: ...
