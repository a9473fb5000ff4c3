"""OpenAI Images (generations), the same protocol on both sides."""

from __future__ import annotations

from apps.dialects.common import scrub
from apps.dialects.openai_images import reply
from apps.dialects.openai_images.request import parse, upstream_body
from apps.dialects.openai_images.stream import ImagesRelay
from apps.dialects.protocol import OPENAI_IMAGES, Reply, Request


class OpenAIImages:
    """See `Dialect`. Source: platform.openai.com/docs/api-reference/images."""

    name = OPENAI_IMAGES
    endpoint = "images"
    upstream_path = "/images/generations"
    is_anthropic = False

    def parse(self, body: bytes) -> Request:
        return parse(body)

    def upstream_body(
        self, request: Request, *, upstream_model: str, max_tokens: int | None, account_tag: str
    ) -> bytes:
        return upstream_body(request, upstream_model=upstream_model)

    def fitted(self, request: Request, *, upstream_model: str) -> Request:
        return request

    def without_foreign(self, request: Request) -> Request:
        return request

    def without_reasoning(self, request: Request) -> Request:
        return request

    def read_reply(self, body: bytes) -> Reply:
        return reply.read_reply(body)

    def render_reply(self, body: bytes, *, model_id: str | None, hypereal: bytes) -> bytes:
        return reply.render_reply(body, model_id=model_id, hypereal=hypereal)

    def relay(self, request: Request, *, model_id: str | None) -> ImagesRelay:
        return ImagesRelay(model_id=model_id)

    def read_error(self, status: int, body: bytes) -> str:
        return scrub.read_error(status, body)
