"""One call on its way through the gateway."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from apps.catalog.rules import Capacity
from apps.core import clock
from apps.core.errors import GatewayError
from apps.core.ids import new_id, show_request_id
from apps.dialects.protocol import Dialect
from apps.governor.store.protocol import Admission
from apps.governor.telemetry.tally import Tally
from apps.ledger.idempotency import Idempotency

Scope = Mapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SINGLE_HEADERS: Final = frozenset({b"authorization", b"x-api-key", b"anthropic-api-key", b"content-length"})
"""Headers that mean nothing when sent twice."""


@dataclass(slots=True)
class Call:
    """A request's head, and what becomes known of it as it goes from step to step."""

    request_id: uuid.UUID
    request_name: str
    """`req_…`, as headers, bodies and pages show it."""
    path: str
    method: str
    headers: dict[bytes, bytes]
    repeated: frozenset[bytes]
    """Names of single headers that came twice."""
    peer: str
    dialect: Dialect | None
    is_anthropic: bool
    received_at: datetime
    started: float
    """Monotonic: when the request's last byte was in."""
    query: bytes = b""
    body_is_read: bool = False
    idempotency: Idempotency | None = None
    """What it calls itself and its repeats; None for nearly all."""
    capacity: Capacity | None = None
    """The model's, once that is known: what a refusal tells of it."""
    admission: Admission | None = None
    route_key: str = ""
    """The route asked last, or to be asked first."""
    is_answered: bool = False
    """The head of a reply went out: from then on it cannot become another."""
    tally: Tally | None = None
    """Of the route that it is on."""

    def header(self, name: bytes) -> str:
        """A header's text, empty where there is none."""
        value = self.headers.get(name)
        return "" if value is None else value.decode("latin-1")


def read_head(scope: Scope, *, dialect: Dialect | None) -> Call:
    """Read a request's head. The last of several headers of one name counts, but for those that must be single."""
    headers: dict[bytes, bytes] = {}
    repeated: set[bytes] = set()
    for name, value in scope["headers"]:
        if name in headers and name in SINGLE_HEADERS:
            repeated.add(name)
        headers[name] = value
    request_id = new_id()
    client = scope.get("client")
    return Call(
        request_id=request_id,
        request_name=show_request_id(request_id),
        path=scope["path"],
        method=scope["method"],
        headers=headers,
        repeated=frozenset(repeated),
        peer=client[0] if client else "",
        dialect=dialect,
        is_anthropic=dialect.is_anthropic if dialect is not None else b"anthropic-version" in headers,
        received_at=clock.now(),
        started=clock.monotonic(),
        query=scope.get("query_string", b""),
    )


class NotFound(GatewayError):
    """No such endpoint, or no such model."""
