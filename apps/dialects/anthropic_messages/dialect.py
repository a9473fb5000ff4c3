"""Anthropic Messages, the same protocol on both sides."""

from __future__ import annotations

from apps.dialects.anthropic_messages import foreign, reply
from apps.dialects.anthropic_messages.request import parse, upstream_body
from apps.dialects.anthropic_messages.stream import MessagesRelay
from apps.dialects.common import scrub
from apps.dialects.common.json_reply import with_hypereal
from apps.dialects.protocol import ANTHROPIC_MESSAGES, Reply, Request


class AnthropicMessages:
    """See `Dialect`. Source: platform.claude.com/docs, "Messages" and "Streaming messages"."""

    name = ANTHROPIC_MESSAGES
    endpoint = "messages"
    upstream_path = "/v1/messages"
    is_anthropic = True

    def parse(self, body: bytes) -> Request:
        return parse(body)

    def upstream_body(
        self, request: Request, *, upstream_model: str, max_tokens: int | None, account_tag: str
    ) -> bytes:
        return upstream_body(request, upstream_model=upstream_model, max_tokens=max_tokens)

    def fitted(self, request: Request, *, upstream_model: str) -> Request:
        return request

    def without_foreign(self, request: Request) -> Request:
        return foreign.without_foreign(request)

    def without_reasoning(self, request: Request) -> Request:
        return foreign.without_reasoning(request)

    def read_reply(self, body: bytes) -> Reply:
        return reply.read_reply(body)

    def render_reply(self, body: bytes, *, model_id: str | None, hypereal: bytes) -> bytes:
        return with_hypereal(body, model_id=model_id, hypereal=hypereal)

    def relay(self, request: Request, *, model_id: str | None) -> MessagesRelay:
        return MessagesRelay(model_id=model_id)

    def read_error(self, status: int, body: bytes) -> str:
        return scrub.read_error(status, body)
