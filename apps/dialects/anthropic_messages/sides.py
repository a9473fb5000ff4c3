"""Anthropic Messages in translation: its callers reach every upstream, and its upstreams every caller."""

from __future__ import annotations

from apps.dialects.anthropic_messages.answer import read_answer, write_answer
from apps.dialects.anthropic_messages.body import write_conversation
from apps.dialects.anthropic_messages.conversation import read_conversation
from apps.dialects.anthropic_messages.events import MessagesReader
from apps.dialects.anthropic_messages.writer import MessagesWriter
from apps.dialects.hub.answer import Answer
from apps.dialects.hub.conversation import Conversation
from apps.dialects.protocol import ANTHROPIC_MESSAGES, Request


class MessagesCaller:
    """See `CallerSide`."""

    name = ANTHROPIC_MESSAGES

    def read_conversation(self, request: Request) -> Conversation:
        return read_conversation(request)

    def write_answer(self, answer: Answer, conversation: Conversation, *, model_id: str, hypereal: bytes) -> bytes:
        return write_answer(answer, model_id=model_id, hypereal=hypereal)

    def stream_writer(self, request: Request, conversation: Conversation, *, model_id: str) -> MessagesWriter:
        return MessagesWriter(model_id=model_id)


class MessagesUpstream:
    """See `UpstreamSide`."""

    name = ANTHROPIC_MESSAGES
    least_maximum = 1

    def path(self, *, upstream_model: str, is_stream: bool) -> str:
        return "/v1/messages"

    def write_conversation(
        self, conversation: Conversation, *, upstream_model: str, max_tokens: int | None, account_tag: str
    ) -> bytes:
        return write_conversation(conversation, upstream_model=upstream_model, max_tokens=max_tokens)

    def read_answer(self, body: bytes) -> Answer:
        return read_answer(body)

    def stream_reader(self, conversation: Conversation) -> MessagesReader:
        return MessagesReader()
