"""What every stream machine does the same way: split, take events one by one, stop at the first failure."""

from __future__ import annotations

from abc import ABC, abstractmethod

from apps.core.errors import GatewayError
from apps.dialects.common.json_body import UNREADABLE
from apps.dialects.common.scrub import failure_message, is_overload
from apps.dialects.common.sse import COMMENT, Event, EventTooLarge, Splitter
from apps.dialects.protocol import StreamState


class EventRelay(ABC):
    """Base of the stream machines. A subclass says what one event means; framing and failures are handled here."""

    def __init__(self) -> None:
        self.state = StreamState()
        self._splitter = Splitter()

    @abstractmethod
    def _take(self, event: Event) -> bytes:
        """Meter one event that carries data; return what the caller may have now.

        Raises: ValueError or RecursionError, where its data is no JSON of this dialect.
        """

    @abstractmethod
    def finish(self, hypereal: bytes) -> bytes: ...

    @abstractmethod
    def fail(self, error: GatewayError, *, request_id: str) -> bytes: ...

    def feed(self, data: bytes) -> bytes:
        state = self.state
        if state.failure is not None or state.is_complete:
            return b""
        try:
            events = self._splitter.feed(data)
        except EventTooLarge:
            state.failure = "The upstream sent an event that is too large."
            return b""
        return self._take_all(events)

    def end(self) -> bytes:
        if self.state.failure is not None or self.state.is_complete:
            return b""
        return self._take_all(self._splitter.end())

    def ping(self) -> bytes:
        return COMMENT

    def _take_all(self, events: list[Event]) -> bytes:
        state = self.state
        relayed = b""
        for event in events:
            try:
                # Mostly there is one event, and adding to nothing copies nothing.
                relayed += self._take(event) if event.data else event.frame
            except UNREADABLE:
                state.failure = "The upstream sent an event that cannot be read."
            if state.failure is not None or state.is_complete:
                break
        state.relayed_bytes += len(relayed)
        return relayed

    def _fail_with(self, error: object) -> bytes:
        """An error event came: keep its message, end the relay."""
        self.state.failure = failure_message(error)
        self.state.failure_is_overload = is_overload(error)
        return b""
