"""How one call travels to an upstream and back: its bytes as they are, or translated. The gateway asks no further."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Raw

from apps.dialects.common.json_body import first_byte, read_list
from apps.dialects.common.notes import fit_all
from apps.dialects.hub.exchange import Exchange
from apps.dialects.hub.protocol import CallerSide
from apps.dialects.protocol import Dialect, InvalidRequest, Reply, Request, StreamRelay
from apps.dialects.registry import CALLERS, DIALECTS, UPSTREAMS

MAX_ELEMENTS: Final = {"messages": 10_000, "input": 20_000, "tools": 2_000}
"""Of a request that is translated; one that passes through is its upstream's to judge."""
LEAST_ELEMENT_BYTES: Final = 12
_ELEMENTS: Final = msgspec.json.Decoder(list[Raw])


class Passage(Protocol):
    """One call between its caller's dialect and an upstream's. Made for one call; may be used again for a retry."""

    spoken: str
    """The dialect that the upstream is spoken to in."""
    is_translated: bool

    @property
    def adapted(self) -> tuple[str, ...]:
        """What was changed on the way, for X-Hypereal-Adapted; complete once the body was written."""

    def upstream_path(self, *, upstream_model: str) -> str:
        """Joined to a route's base URL."""

    def upstream_body(self, *, upstream_model: str, max_tokens: int | None, account_tag: str) -> bytes:
        """Raises: UnsupportedField, for meaning that the upstream's dialect cannot say."""

    def forget_reasoning(self) -> bool:
        """Write no reasoning of earlier answers from now on; False where none was written."""

    def read_reply(self, body: bytes) -> Reply:
        """Raises: ValueError, where it is no reply of the upstream's dialect."""

    def render_reply(self, body: bytes, *, model_id: str | None, hypereal: bytes) -> bytes:
        """The reply that `read_reply` read, for the caller. `model_id` None: under the upstream's name."""

    def relay(self, *, model_id: str | None) -> StreamRelay: ...

    def read_error(self, status: int, body: bytes) -> str:
        """An upstream error's message, fit for a caller."""


class PassThrough:
    """Caller and upstream speak the same dialect: see `Dialect`."""

    is_translated = False

    def __init__(self, dialect: Dialect, request: Request) -> None:
        self.spoken = dialect.name
        self._dialect = dialect
        self._request = dialect.without_foreign(request)

    @property
    def adapted(self) -> tuple[str, ...]:
        return fit_all(self._request.adapted)

    def upstream_path(self, *, upstream_model: str) -> str:
        return self._dialect.upstream_path

    def upstream_body(self, *, upstream_model: str, max_tokens: int | None, account_tag: str) -> bytes:
        self._request = self._dialect.fitted(self._request, upstream_model=upstream_model)
        return self._dialect.upstream_body(
            self._request, upstream_model=upstream_model, max_tokens=max_tokens, account_tag=account_tag
        )

    def forget_reasoning(self) -> bool:
        before, self._request = self._request, self._dialect.without_reasoning(self._request)
        return self._request is not before

    def read_reply(self, body: bytes) -> Reply:
        return self._dialect.read_reply(body)

    def render_reply(self, body: bytes, *, model_id: str | None, hypereal: bytes) -> bytes:
        return self._dialect.render_reply(body, model_id=model_id, hypereal=hypereal)

    def relay(self, *, model_id: str | None) -> StreamRelay:
        return self._dialect.relay(self._request, model_id=model_id)

    def read_error(self, status: int, body: bytes) -> str:
        return self._dialect.read_error(status, body)


class MixedCaller:
    """A caller that asks in one dialect and wants its answer in another: see `CallerSide`."""

    def __init__(self, asks: CallerSide, hears: CallerSide) -> None:
        self.name = hears.name
        self.read_conversation = asks.read_conversation
        self.write_answer = hears.write_answer
        self.stream_writer = hears.stream_writer


def reachable(dialect: str) -> frozenset[str]:
    """The upstreams' dialects that callers of `dialect` can be served in."""
    own = {dialect} & DIALECTS.keys()
    return frozenset(own | UPSTREAMS.keys() if dialect in CALLERS else own)


def passages(
    dialect: Dialect, request: Request, spoken: Sequence[str], *, writes_cache: bool = True
) -> Iterator[Passage]:
    """Every way to put this request to an upstream that speaks `spoken`, best first: untouched where it speaks the
    caller's own dialect, else translated, in the order of `spoken`. `writes_cache`: the model has a price for cache
    writes; where it has none, its provider caches by itself and is told no marks.

    Raises: InvalidRequest, UnsupportedField, where the request is malformed, or says what the hub has no word for.
    """
    if dialect.name in spoken and request.written_in is None:
        yield PassThrough(dialect, request)
        return
    caller = _caller(dialect, request)
    if caller is None:
        return
    _check_crowds(request)
    for name in spoken:
        upstream = UPSTREAMS.get(name)
        if upstream is not None:
            yield Exchange(caller, upstream, request, keeps_cache_marks=writes_cache)


def _check_crowds(request: Request) -> None:
    """Refuse what takes seconds to translate and nobody ever said.

    Raises: InvalidRequest.
    """
    for name, most in MAX_ELEMENTS.items():
        raw = request.fields.get(name)
        if raw is None or len(memoryview(raw)) <= most * LEAST_ELEMENT_BYTES or first_byte(raw) != b"[":
            continue
        if len(read_list(_ELEMENTS, raw, name)) > most:
            raise InvalidRequest(f"`{name}` has more than {most} elements.", param=name)


def _caller(dialect: Dialect, request: Request) -> CallerSide | None:
    caller = CALLERS.get(dialect.name)
    if caller is None or request.written_in is None:
        return caller
    return MixedCaller(CALLERS[request.written_in], caller)
