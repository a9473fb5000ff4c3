"""OpenAI Responses, the same protocol on both sides."""

from __future__ import annotations

from msgspec import Raw

from apps.dialects.common import scrub
from apps.dialects.common.fit import without_sampling
from apps.dialects.common.json_reply import render
from apps.dialects.openai_responses import foreign, reply
from apps.dialects.openai_responses.request import parse, upstream_body
from apps.dialects.openai_responses.stream import ResponsesRelay
from apps.dialects.protocol import OPENAI_RESPONSES, Reply, Request


class OpenAIResponses:
    """See `Dialect`. Source: platform.openai.com/docs/api-reference/responses."""

    name = OPENAI_RESPONSES
    endpoint = "responses"
    upstream_path = "/responses"
    is_anthropic = False

    def parse(self, body: bytes) -> Request:
        return parse(body)

    def upstream_body(
        self, request: Request, *, upstream_model: str, max_tokens: int | None, account_tag: str
    ) -> bytes:
        return upstream_body(request, upstream_model=upstream_model, max_tokens=max_tokens, account_tag=account_tag)

    def fitted(self, request: Request, *, upstream_model: str) -> Request:
        return without_sampling(request, ("temperature", "top_p"), upstream_model=upstream_model)

    def without_foreign(self, request: Request) -> Request:
        return foreign.without_foreign(request)

    def without_reasoning(self, request: Request) -> Request:
        return foreign.without_reasoning(request)

    def read_reply(self, body: bytes) -> Reply:
        return reply.read_reply(body)

    def render_reply(self, body: bytes, *, model_id: str | None, hypereal: bytes) -> bytes:
        return render({**reply.shown_fields(body, model_id=model_id), "hypereal": Raw(hypereal)})

    def relay(self, request: Request, *, model_id: str | None) -> ResponsesRelay:
        return ResponsesRelay(model_id=model_id, is_stored=request.wants_storing)

    def read_error(self, status: int, body: bytes) -> str:
        return scrub.read_error(status, body)
