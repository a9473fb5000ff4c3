"""OpenAI Chat Completions, the same protocol on both sides."""

from __future__ import annotations

from apps.dialects.common import scrub
from apps.dialects.common.json_reply import with_hypereal
from apps.dialects.openai_chat import fit, foreign, reply
from apps.dialects.openai_chat.request import parse, upstream_body
from apps.dialects.openai_chat.stream import ChatRelay
from apps.dialects.protocol import OPENAI_CHAT, Reply, Request


class OpenAIChat:
    """See `Dialect`. Source: platform.openai.com/docs/api-reference/chat, and what its imitators really send."""

    name = OPENAI_CHAT
    endpoint = "chat"
    upstream_path = "/chat/completions"
    is_anthropic = False

    def parse(self, body: bytes) -> Request:
        return parse(body)

    def upstream_body(
        self, request: Request, *, upstream_model: str, max_tokens: int | None, account_tag: str
    ) -> bytes:
        return upstream_body(request, upstream_model=upstream_model, max_tokens=max_tokens, account_tag=account_tag)

    def fitted(self, request: Request, *, upstream_model: str) -> Request:
        return fit.fitted(request, upstream_model=upstream_model)

    def without_foreign(self, request: Request) -> Request:
        return foreign.without_foreign(request)

    def without_reasoning(self, request: Request) -> Request:
        return foreign.without_reasoning(request)

    def read_reply(self, body: bytes) -> Reply:
        return reply.read_reply(body)

    def render_reply(self, body: bytes, *, model_id: str | None, hypereal: bytes) -> bytes:
        return with_hypereal(body, model_id=model_id, hypereal=hypereal)

    def relay(self, request: Request, *, model_id: str | None) -> ChatRelay:
        return ChatRelay(request, model_id=model_id)

    def read_error(self, status: int, body: bytes) -> str:
        return scrub.read_error(status, body)
