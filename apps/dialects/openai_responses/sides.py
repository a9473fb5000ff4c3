"""This dialect's part in translation: for its own callers, and as an upstream of others'."""

from __future__ import annotations

from apps.dialects.hub.answer import Answer
from apps.dialects.hub.conversation import Conversation
from apps.dialects.openai_responses import answer, body, conversation
from apps.dialects.openai_responses.events import ResponsesReader
from apps.dialects.openai_responses.writer import ResponsesWriter
from apps.dialects.protocol import OPENAI_RESPONSES, Request


class ResponsesCaller:
    """See `CallerSide`."""

    name = OPENAI_RESPONSES

    def read_conversation(self, request: Request) -> Conversation:
        return conversation.read_conversation(request)

    def write_answer(self, read: Answer, asked: Conversation, *, model_id: str, hypereal: bytes) -> bytes:
        return answer.write_answer(read, asked, model_id=model_id, hypereal=hypereal)

    def stream_writer(self, request: Request, asked: Conversation, *, model_id: str) -> ResponsesWriter:
        return ResponsesWriter(asked, model_id=model_id)


class ResponsesUpstream:
    """See `UpstreamSide`."""

    name = OPENAI_RESPONSES
    least_maximum = body.MIN_OUTPUT_TOKENS

    def path(self, *, upstream_model: str, is_stream: bool) -> str:
        return "/responses"

    def write_conversation(
        self, asked: Conversation, *, upstream_model: str, max_tokens: int | None, account_tag: str
    ) -> bytes:
        return body.write_conversation(
            asked, upstream_model=upstream_model, max_tokens=max_tokens, account_tag=account_tag
        )

    def read_answer(self, raw: bytes) -> Answer:
        return answer.read_answer(raw)

    def stream_reader(self, asked: Conversation) -> ResponsesReader:
        return ResponsesReader(asked)
