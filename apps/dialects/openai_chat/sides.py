"""OpenAI Chat Completions in translation: callers of it, and upstreams that speak it."""

from __future__ import annotations

from apps.dialects.hub.answer import Answer
from apps.dialects.hub.conversation import Conversation
from apps.dialects.openai_chat.answer import read_answer, write_answer
from apps.dialects.openai_chat.body import write_conversation
from apps.dialects.openai_chat.conversation import read_conversation
from apps.dialects.openai_chat.events import ChatReader
from apps.dialects.openai_chat.writer import ChatWriter
from apps.dialects.protocol import OPENAI_CHAT, Request


class ChatCaller:
    """See `CallerSide`."""

    name = OPENAI_CHAT

    def read_conversation(self, request: Request) -> Conversation:
        return read_conversation(request)

    def write_answer(self, answer: Answer, conversation: Conversation, *, model_id: str, hypereal: bytes) -> bytes:
        return write_answer(answer, conversation, model_id=model_id, hypereal=hypereal)

    def stream_writer(self, request: Request, conversation: Conversation, *, model_id: str) -> ChatWriter:
        wants_logprobs = conversation.logprobs is not None
        return ChatWriter(model_id=model_id, wants_usage=request.wants_usage, wants_logprobs=wants_logprobs)


class ChatUpstream:
    """See `UpstreamSide`."""

    name = OPENAI_CHAT
    least_maximum = 1

    def path(self, *, upstream_model: str, is_stream: bool) -> str:
        return "/chat/completions"

    def write_conversation(
        self, conversation: Conversation, *, upstream_model: str, max_tokens: int | None, account_tag: str
    ) -> bytes:
        return write_conversation(
            conversation, upstream_model=upstream_model, max_tokens=max_tokens, account_tag=account_tag
        )

    def read_answer(self, body: bytes) -> Answer:
        return read_answer(body)

    def stream_reader(self, conversation: Conversation) -> ChatReader:
        return ChatReader(n=conversation.n)
