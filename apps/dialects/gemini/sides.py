"""Gemini generateContent in translation: upstreams that speak it."""

from __future__ import annotations

from apps.dialects.gemini.answer import read_answer
from apps.dialects.gemini.conversation import path_of, write_conversation
from apps.dialects.gemini.events import GeminiReader
from apps.dialects.hub.answer import Answer
from apps.dialects.hub.conversation import Conversation
from apps.dialects.protocol import GEMINI


class GeminiUpstream:
    """See `UpstreamSide`. Source: ai.google.dev/api/generate-content, and what both of its hosts really send."""

    name = GEMINI
    least_maximum = 1

    def path(self, *, upstream_model: str, is_stream: bool) -> str:
        return path_of(upstream_model, is_stream=is_stream)

    def write_conversation(
        self, conversation: Conversation, *, upstream_model: str, max_tokens: int | None, account_tag: str
    ) -> bytes:
        return write_conversation(conversation, max_tokens=max_tokens)

    def read_answer(self, body: bytes) -> Answer:
        return read_answer(body)

    def stream_reader(self, conversation: Conversation) -> GeminiReader:
        return GeminiReader(n=conversation.n)
