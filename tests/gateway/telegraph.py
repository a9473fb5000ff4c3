"""A provider that speaks a protocol of its own, and chat callers who reach it: translation without a real dialect.

Shape:  {"to": "theirs", "most": 500, "text": "Hi"}  ->  {"said": "Twelve dogs ran.", "in": 1200, "out": 300}
        streamed: {"said": "Twelve "}, {"said": "dogs"}, {"over": true, "in": 1200, "out": 300}; {"broke": "why"}
It can say no `stop` (meaning) and no `temperature` (tuning).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from apps.core.errors import GatewayError
from apps.core.tokens import TokenUsage
from apps.dialects.common.json_body import read_any
from apps.dialects.common.sse import COMMENT, Event, frame_of
from apps.dialects.hub.abilities import Abilities, check
from apps.dialects.hub.answer import Answer, Choice, Ending
from apps.dialects.hub.conversation import Conversation, Text, Tuning, Turn
from apps.dialects.hub.events import Begin, BlockBegin, Delta, Done, Ended, Failed, HubEvent, UsageRead
from apps.dialects.protocol import Request

TELEGRAPH: Final = "telegraph"
ABILITIES: Final = Abilities(meaning=frozenset(), tuning=frozenset())


class Telegraph:
    """The upstream's side."""

    name = TELEGRAPH

    def path(self, *, upstream_model: str, is_stream: bool) -> str:
        return f"/{upstream_model}/{'tape' if is_stream else 'wire'}"

    def write_conversation(
        self, conversation: Conversation, *, upstream_model: str, max_tokens: int | None, account_tag: str
    ) -> bytes:
        check(conversation, ABILITIES)
        text = "".join(part.text for turn in conversation.turns for part in turn.parts if isinstance(part, Text))
        return json.dumps({"to": upstream_model, "most": max_tokens, "for": account_tag, "text": text}).encode()

    def read_answer(self, body: bytes) -> Answer:
        said = json.loads(body)
        if "broke" in said:
            return Answer("t", failure=said["broke"])
        return Answer("t", [Choice([Text(said["said"])], Ending("end"))], _usage(said))

    def stream_reader(self, conversation: Conversation) -> TelegraphReader:
        return TelegraphReader()


class TelegraphReader:
    def __init__(self) -> None:
        self._has_begun = False

    def feed(self, event: Event) -> Sequence[HubEvent]:
        said = json.loads(event.data)
        if "broke" in said:
            return [Failed(said["broke"], is_overload=said.get("busy", False))]
        if "over" in said:
            return [UsageRead(_usage(said)), Ended(Ending("end")), Done()]
        opening: list[HubEvent] = [] if self._has_begun else [Begin("t"), BlockBegin(0, "text")]
        self._has_begun = True
        return [*opening, Delta(0, said["said"])]

    def end(self) -> Sequence[HubEvent]:
        return []


class ChatCaller:
    """A chat caller, as far as the tests need one."""

    name = "openai-chat"

    def read_conversation(self, request: Request) -> Conversation:
        fields = {name: read_any(raw, name) for name, raw in request.fields.items()}
        return Conversation(
            [Turn("user", [Text(message["content"])]) for message in fields["messages"]],
            max_tokens=request.max_tokens,
            stop=tuple(fields.get("stop", ())),
            tuning=Tuning(temperature=fields.get("temperature")),
            is_stream=request.is_stream,
        )

    def write_answer(self, answer: Answer, conversation: Conversation, *, model_id: str, hypereal: bytes) -> bytes:
        text = "".join(part.text for part in answer.choices[0].parts if isinstance(part, Text))
        return json.dumps({"model": model_id, "text": text, "hypereal": json.loads(hypereal)}).encode()

    def stream_writer(self, request: Request, conversation: Conversation, *, model_id: str) -> ChatWriter:
        return ChatWriter(model_id)


class ChatWriter:
    def __init__(self, model_id: str) -> None:
        self._model_id = model_id

    def write(self, event: HubEvent) -> bytes:
        return _frame({"model": self._model_id, "text": event.text}) if isinstance(event, Delta) else b""

    def finish(self, *, usage: TokenUsage | None, hypereal: bytes) -> bytes:
        return _frame({"end": usage.output if usage is not None else None, "hypereal": json.loads(hypereal)})

    def fail(self, error: GatewayError, *, request_id: str) -> bytes:
        return _frame({"error": error.code, "message": error.message})

    def ping(self) -> bytes:
        return COMMENT


def tape(said: dict[str, Any]) -> bytes:
    """One event of the upstream's stream."""
    return frame_of(b"", json.dumps(said).encode())


def _frame(shown: dict[str, Any]) -> bytes:
    return frame_of(b"", json.dumps(shown).encode())


def _usage(said: dict[str, Any]) -> TokenUsage:
    return TokenUsage(input=said["in"], output=said["out"])
