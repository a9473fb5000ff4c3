"""The official SDK before one upstream, with the dialects and nothing else between them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai

from apps.core.errors import GatewayError
from apps.dialects.passage import passages
from apps.dialects.protocol import OPENAI_RESPONSES
from apps.dialects.registry import DIALECTS

HYPEREAL = b'{"billing":{"credits_charged":12}}'
DIALECT = DIALECTS[OPENAI_RESPONSES]


class Upstream:
    """A provider that speaks `spoken` and answers with `reply`; it keeps what it was asked."""

    def __init__(self, spoken: str, reply: bytes) -> None:
        self.spoken = spoken
        self.reply = reply
        self.asked: list[dict[str, Any]] = []

    @contextmanager
    def client(self) -> Iterator[openai.OpenAI]:
        transport = httpx2.MockTransport(self._serve)
        with (
            httpx2.Client(transport=transport) as http,
            openai.OpenAI(api_key="ck_x", base_url="http://gateway/v1", http_client=http, max_retries=0) as client,
        ):
            yield client

    def _serve(self, call: httpx2.Request) -> httpx2.Response:
        request = DIALECT.parse(call.content)
        (passage,) = passages(DIALECT, request, [self.spoken])
        body = passage.upstream_body(upstream_model="theirs", max_tokens=500, account_tag="acc")
        self.asked.append(json.loads(body))
        if not request.is_stream:
            passage.read_reply(self.reply)
            rendered = passage.render_reply(self.reply, model_id="gpt-5-5", hypereal=HYPEREAL)
            return httpx2.Response(200, content=rendered, headers={"content-type": "application/json"})
        relay = passage.relay(model_id="gpt-5-5")
        sent = relay.feed(self.reply)
        if not relay.state.is_complete and relay.state.failure is None:
            sent += relay.end()
        if relay.state.is_complete:
            sent += relay.finish(HYPEREAL)
        else:
            error = GatewayError("upstream_error", relay.state.failure or "It broke off.")
            sent += relay.fail(error, request_id="req_1")
        return httpx2.Response(200, content=sent, headers={"content-type": "text/event-stream"})
