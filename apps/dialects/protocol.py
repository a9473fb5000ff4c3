"""What every wire protocol gives the gateway when caller and upstream speak the same one.

Bytes pass through but for what SPEC Part 2 names: the model's name, `max_tokens` lowered to the grant, the usage chunk
nobody asked for, and the `hypereal` block. Everything here is pure: bytes in, bytes out, no I/O, no Django.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import Raw

from apps.core.errors import GatewayError
from apps.core.tokens import TokenUsage
from apps.dialects.said import Said

OPENAI_CHAT = "openai-chat"
OPENAI_RESPONSES = "openai-responses"
OPENAI_IMAGES = "openai-images"
ANTHROPIC_MESSAGES = "anthropic-messages"
GEMINI = "gemini"


class InvalidRequest(GatewayError):
    """The body is not a request of this dialect (400 `invalid_request`)."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__("invalid_request", message, param=param)


class UnsupportedField(GatewayError):
    """The body names something that a caller may not set (400 `unsupported_field`, SPEC 2.9)."""

    def __init__(self, message: str, *, param: str) -> None:
        super().__init__("unsupported_field", message, param=param)


class UnknownState(GatewayError):
    """The body names something kept at a provider that this account did not make through us (404, SPEC 2.9)."""

    def __init__(self, field: str) -> None:
        message = f"`{field}` names something that is not there, or that this account did not make here."
        super().__init__("not_found", message, param=field)


@dataclass(frozen=True, slots=True)
class State:
    """Something that a provider keeps under an id of its own: `response`, or an `item` of one."""

    kind: str
    id: str
    field: str = ""
    """Where a request names it."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request can cost on its way in: text by its bytes, everything else by the piece."""

    text_bytes: int
    """UTF-8 bytes of the body less the payloads (base64 data) of the items counted below."""
    images: int = 0
    document_pages: int = 0
    audio_parts: int = 0
    audio_field: str = ""
    """Where the first of them stands: what a model that takes none refuses."""
    stored_tokens: int = 0
    """Of what the provider keeps and the body only names."""
    server_tool_uses: int = 0
    """Most requests to priced server tools (web search …) that this call may make; 0 where it offers none."""


@dataclass(frozen=True, slots=True)
class Modifier:
    """A word that changes the price of a call (`service_tier`, `priority`): refused unless the catalog prices it."""

    field: str
    value: str

    @property
    def name(self) -> str:
        """As the catalog knows it: `service_tier=priority`."""
        return f"{self.field}={self.value}"


@dataclass(frozen=True, slots=True)
class Request:
    """A caller's request, read as far as the gateway needs it; `fields` keeps the whole top level as raw JSON."""

    model_id: str
    fields: Mapping[str, Raw]
    demand: Demand
    is_stream: bool = False
    max_tokens: int | None = None
    """The caller's own maximum of output tokens, where it gave one."""
    maximum_name: str = "max_tokens"
    """Chat: what the model calls its maximum."""
    thinking_budget: int | None = None
    n: int = 1
    wants_usage: bool = True
    """Chat streams: the caller asked for the usage chunk (`stream_options.include_usage`)."""
    image_size: str | None = None
    """`1K`, `2K`, `4K`, or an Images API quality: the key into the catalog's `image_output_tokens`."""
    makes_images: bool = False
    drafts: int = 0
    """Pictures of an unfinished image that a stream shows on the way (`partial_images`)."""
    states: tuple[State, ...] = ()
    """What the body names that a provider keeps: allowed only where this account made it."""
    wants_storing: bool = False
    """The provider shall keep the reply, so that a later request can name it."""
    cache_key: str | None = None
    """`prompt_cache_key`, which also serves as the last resort for a session id."""
    asks_cache: bool = False
    """A cache breakpoint is wanted where the caller set none (`common/caching.py`)."""
    modifiers: tuple[Modifier, ...] = ()
    unknown_tools: tuple[str, ...] = ()
    """Kinds of offered tools that nobody knew yet."""
    adapted: tuple[str, ...] = ()
    """Adaptations made on the way in (`quality: standard -> auto`), shown in X-Hypereal-Adapted."""
    written_in: str | None = None
    """The dialect that the body is written in, where that is not the endpoint's: then it is always translated."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the gateway needs to know of a plain (not streamed) 2xx reply."""

    usage: TokenUsage | None
    """None where the upstream reported none: the gateway then estimates."""
    said: Said = field(default_factory=Said)
    """Text, tool arguments and reasoning of the reply, for an estimate."""
    failure: str | None = None
    """Set where a 2xx body is in truth a failure (Responses `status: failed`): not billed."""
    images: int = 0
    states: tuple[State, ...] = ()
    """What the provider keeps of it, where that was asked for."""


@dataclass(slots=True)
class StreamState:
    """What a stream has shown so far; the gateway reads it after each `feed` and at the end."""

    usage: TokenUsage | None = None
    """The last non-null usage, merged per field as the dialect's rules say; never a sum."""
    counts_output: bool = True
    """False while `usage` tells of the prompt alone: its output is not known yet."""
    said: Said = field(default_factory=Said)
    is_complete: bool = False
    """The terminal event was seen: the upstream considers the call done and billable, and nothing that follows matters;
    reading may stop."""
    failure: str | None = None
    """An error event inside the 200 stream: the call failed and is not billed."""
    failure_is_overload: bool = False
    is_withholding: bool = False
    """The part that only a settled call may see has begun."""
    images: int = 0
    states: tuple[State, ...] = ()
    """What the provider keeps of it, where that was asked for; known at the end."""
    relayed_bytes: int = 0


class StreamRelay(Protocol):
    """One stream on its way from upstream to caller: feed bytes as they come, send on what comes back at once.

    Everything from the withheld event on (SPEC 2.4: chat's `finish_reason` chunk, messages' `message_delta`,
    responses' terminal event, images' `image_generation.completed`) stays inside until `finish`.
    """

    state: StreamState

    def feed(self, data: bytes) -> bytes:
        """Take upstream bytes split anywhere; return the bytes that the caller may have now (often b"")."""

    def end(self) -> bytes:
        """The upstream's body ended by itself: take what is left in the buffer, then decide whether the stream was
        complete (a chat stream without `[DONE]` is, where every choice has finished). Call it once, before looking at
        `state`; not where the connection broke or where `state.is_complete` ended the reading."""

    def finish(self, hypereal: bytes) -> bytes:
        """The call is settled: return the withheld rest with `hypereal` (a JSON object's bytes) in its place.

        Where the stream is not complete because we stopped it (the total deadline), the rest says that the answer was
        cut at its maximum length. Usage that is shown there is `state.usage`, which may be set to an estimate before.
        """

    def fail(self, error: GatewayError, *, request_id: str) -> bytes:
        """The call failed after headers went out: return the dialect's error event that ends the stream."""

    def ping(self) -> bytes:
        """A keep-alive that every client of this dialect ignores."""


class Dialect(Protocol):
    """One wire protocol, for callers and upstreams that both speak it."""

    name: str
    endpoint: str
    """`chat`, `responses`, `images` or `messages`, as usage records say."""
    upstream_path: str
    """Joined to a route's base URL: `/chat/completions`, `/v1/messages`."""
    is_anthropic: bool

    def parse(self, body: bytes) -> Request:
        """Read a request.

        Raises: InvalidRequest for what is no JSON object of this dialect (bad UTF-8, wrong types, too deep, numbers out
        of range), UnsupportedField for price, model and state fields (SPEC 2.9).
        """

    def upstream_body(
        self, request: Request, *, upstream_model: str, max_tokens: int | None, account_tag: str
    ) -> bytes:
        """The body to send: model's name replaced, `max_tokens` set where not None, usage asked for, cache keys
        namespaced with `account_tag`. All other fields as the caller wrote them."""

    def fitted(self, request: Request, *, upstream_model: str) -> Request:
        """The request without what this model refuses of its own dialect, or under the name that it wants; the same
        object where nothing is to be done. Every change is named in `adapted`."""

    def without_foreign(self, request: Request) -> Request:
        """The request without reasoning that providers of other dialects sealed: it came as this dialect's own, in a
        translated reply, and no provider of this one takes it. What is left out is named in `adapted`."""

    def without_reasoning(self, request: Request) -> Request:
        """The request without the reasoning of earlier answers, for an upstream that refuses it: sealed under another
        account, or too long ago. The same object where there is none."""

    def read_reply(self, body: bytes) -> Reply:
        """Meter a plain 2xx reply. Raises: ValueError where it is no JSON object of this dialect."""

    def render_reply(self, body: bytes, *, model_id: str | None, hypereal: bytes) -> bytes:
        """The reply for the caller: `model` set (None leaves the upstream's), `hypereal` at the top level."""

    def relay(self, request: Request, *, model_id: str | None) -> StreamRelay:
        """A fresh machine for one stream of this request."""

    def read_error(self, status: int, body: bytes) -> str:
        """An upstream error's message, fit for a caller: no URL, key, organisation or HTML (SPEC 2.6)."""


@dataclass(frozen=True, slots=True)
class RenderedError:
    status: int
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
