"""Calls that are under way while something happens to the gateway."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.flows.endpoints import Endpoint, Tokens
from tests.flows.rig import Person, Reply, events_of
from tests.flows.upstream import Answer, Received, served


def slow(endpoint: Endpoint, tokens: Tokens, *, gap_s: float) -> Callable[[Received], Answer]:
    """A provider that pauses before each event of a stream, and before a plain reply."""

    def answer(received: Received) -> Answer:
        whole = served(endpoint, tokens, gap_s=gap_s)(received)
        return whole if whole.is_chunked or not gap_s else replace(whole, steps=[5 * gap_s, *whole.steps])

    return answer


class Calling(threading.Thread):
    """A call that is under way; `reply` waits for its end."""

    def __init__(self, person: Person, endpoint: Endpoint, *, is_stream: bool) -> None:
        super().__init__(daemon=True)
        self.endpoint, self.is_stream = endpoint, is_stream
        self._person = person
        self._reply: Reply | None = None
        self.start()

    def run(self) -> None:
        self._reply = self._person.call(self.endpoint.path, self.endpoint.body(stream=self.is_stream))

    @property
    def reply(self) -> Reply:
        self.join(timeout=30)
        assert self._reply is not None
        return self._reply

    @property
    def billing(self) -> Any:
        if not self.is_stream:
            return self.reply.billing
        for event in events_of(self.reply.body):
            holder = event if event == "[DONE]" or "hypereal" in event else event.get("response", {})
            if "hypereal" in holder:
                return holder["hypereal"]["billing"]
        return None
