"""The simulator: a provider that answers every dialect from the prompt alone."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from apps.core.clock import Monotonic, monotonic
from apps.upstreams.simulator import reading
from apps.upstreams.simulator.answer import answer, usage
from apps.upstreams.simulator.cache import NO_CACHE, CacheUse, PrefixTable
from apps.upstreams.simulator.prompt import Prompt, Refusal
from apps.upstreams.simulator.reply import PacedStream, SimulatedReply, cut_in_half, encode, fail_after
from apps.upstreams.simulator.wires.anthropic_messages import MessagesWire
from apps.upstreams.simulator.wires.anthropic_request import read_request
from apps.upstreams.simulator.wires.gemini import GeminiWire
from apps.upstreams.simulator.wires.openai_chat import ChatWire
from apps.upstreams.simulator.wires.openai_images import ImagesWire
from apps.upstreams.simulator.wires.openai_responses import ResponsesWire
from apps.upstreams.simulator.wires.protocol import REFUSED, Request, Speech, Wire

DEFAULT_TTFB_MS: Final = 20
DEFAULT_CHUNK_MS: Final = 5

MODEL_ID: Final = "hypereal-simulator"
MODEL_CREATED_AT: Final = "2026-01-01T00:00:00Z"
MODEL_CREATED: Final = 1_767_225_600

COUNT_TOKENS_PATH: Final = "/v1/messages/count_tokens"
MODELS_PATH: Final = "/v1/models"

_MESSAGES: Final = MessagesWire()
_CHAT: Final = ChatWire()
_GEMINI: Final = GeminiWire()
_WIRES: Final[dict[str, Wire]] = {
    "/v1/chat/completions": _CHAT,
    "/v1/responses": ResponsesWire(),
    "/v1/images/generations": ImagesWire(),
    "/v1/messages": _MESSAGES,
    COUNT_TOKENS_PATH: _MESSAGES,
}
_GEMINI_PATH: Final = re.compile(r"/v1beta/models/([^:?]{1,200}):(generateContent|streamGenerateContent)")
_CREDENTIALS: Final = ("authorization", "x-api-key", "x-goog-api-key")


@dataclass(frozen=True, slots=True)
class Plan:
    """A reply that is decided, and how long it takes until its first byte."""

    delay_s: float
    reply: SimulatedReply


class Simulator:
    """One pretended provider with a prompt cache of its own.

    `ttfb_ms` passes before every reply, `chunk_ms` between the chunks of a stream; a prompt's directives go first.
    """

    def __init__(
        self,
        *,
        ttfb_ms: int = DEFAULT_TTFB_MS,
        chunk_ms: int = DEFAULT_CHUNK_MS,
        clock: Monotonic = monotonic,
    ) -> None:
        self._ttfb_ms = ttfb_ms
        self._chunk_ms = chunk_ms
        self._prefixes = PrefixTable(clock=clock)

    async def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> SimulatedReply:
        """Answer one HTTP request. `headers` have names in lower case; `path` may carry a query."""
        plan = self.plan(method, path, headers, body)
        if plan.delay_s:
            await asyncio.sleep(plan.delay_s)
        return plan.reply

    def plan(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Plan:
        """Decide the whole reply at once; the waiting is left to the caller."""
        path = path.partition("?")[0]
        if path == MODELS_PATH and method in ("GET", "HEAD"):
            return Plan(0.0, _json(200, _models(headers)))
        wire, model, is_stream = _find(path)
        try:
            if wire is None:
                raise Refusal(f"Unknown path: {path[:100]}. This is the Hypereal simulator.", status=404)
            if method != "POST":
                raise Refusal(f"Not allowed: {method[:10]}. Use POST.", status=405)
            request = Request(reading.read_body(body), headers, model, is_stream)
            if path == COUNT_TOKENS_PATH:
                counted = read_request(request, needs_max_tokens=False).context.tokens
                return Plan(0.0, _json(200, {"input_tokens": counted}))
            prompt = wire.read(request)
        except Refusal as refusal:
            refusing = wire or (_MESSAGES if "anthropic-version" in headers else _CHAT)
            return Plan(0.0, _json(refusal.status, refusing.refuse(refusal)))
        return Plan(self._delay_s(prompt), self._serve(wire, prompt, headers))

    def _delay_s(self, prompt: Prompt) -> float:
        ttfb_ms = prompt.directives.ttfb_ms
        return (self._ttfb_ms if ttfb_ms is None else ttfb_ms) / 1_000

    def _serve(self, wire: Wire, prompt: Prompt, headers: Mapping[str, str]) -> SimulatedReply:
        orders = prompt.directives
        if orders.status is not None:
            retry = {} if orders.retry_after_s is None else {"retry-after": str(orders.retry_after_s)}
            return _json(orders.status, wire.refuse(Refusal(REFUSED, status=orders.status)), retry)
        answers = tuple(answer(prompt, index=index) for index in range(prompt.n))
        cached = self._use_cache(wire, prompt, headers)
        speech = Speech(prompt, answers, usage(prompt, answers, cached) if orders.reports_usage else None)
        if prompt.is_stream:
            frames = wire.stream(speech)
            if orders.error_after is not None:
                frames = fail_after(frames, orders.error_after, lambda sent: wire.break_off(speech, sent=sent))
            chunk_ms = self._chunk_ms if orders.chunk_ms is None else orders.chunk_ms
            stream = PacedStream(frames, chunk_s=chunk_ms / 1_000, cut_after=orders.cut_after)
            return SimulatedReply(200, _headers("text/event-stream; charset=utf-8"), stream)
        if orders.error_after is not None:
            return _json(*wire.fail(speech))
        reply = _json(200, wire.plain(speech))
        if orders.cut_after is not None and isinstance(reply.body, bytes):
            return SimulatedReply(200, reply.headers, cut_in_half(reply.body))
        return reply

    def _use_cache(self, wire: Wire, prompt: Prompt, headers: Mapping[str, str]) -> CacheUse:
        """What of the prompt is known already: within the same credential, model and cache key only."""
        if not prompt.context.marks and not wire.caches_by_itself:
            return NO_CACHE
        credential = next((headers[name] for name in _CREDENTIALS if name in headers), "")
        scope = f"{credential}\0{prompt.model}\0{prompt.cache_scope}".encode()
        if prompt.context.marks:
            return self._prefixes.use_marks(prompt.context, scope=scope)
        return self._prefixes.use_steps(prompt.context, scope=scope)


def _find(path: str) -> tuple[Wire | None, str, bool]:
    """The dialect of a path, with the model and the wish to stream that a Gemini path names."""
    if (wire := _WIRES.get(path)) is not None:
        return wire, "", False
    if match := _GEMINI_PATH.fullmatch(path):
        return _GEMINI, match[1], match[2] == "streamGenerateContent"
    return None, "", False


def _headers(content_type: str) -> dict[str, str]:
    request_id = "req_sim_" + secrets.token_hex(12)
    return {
        "content-type": content_type,
        "x-simulator": "hypereal",
        "x-request-id": request_id,
        "request-id": request_id,
    }


def _json(status: int, payload: Mapping[str, Any], more: Mapping[str, str] | None = None) -> SimulatedReply:
    headers = _headers("application/json")
    if more:
        headers.update(more)
    return SimulatedReply(status, headers, encode(payload))


def _models(headers: Mapping[str, str]) -> dict[str, Any]:
    """One model stands for all of them: the simulator answers to any name."""
    if "anthropic-version" not in headers:
        listed = {"id": MODEL_ID, "object": "model", "created": MODEL_CREATED, "owned_by": "hypereal"}
        return {"object": "list", "data": [listed]}
    shown = {"type": "model", "id": MODEL_ID, "display_name": "Hypereal simulator", "created_at": MODEL_CREATED_AT}
    return {"data": [shown], "has_more": False, "first_id": MODEL_ID, "last_id": MODEL_ID}
