"""From a permitted, paid-for call to an upstream that answers: routes in order, failover before the first byte."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final, NoReturn

from apps.core import clock
from apps.dialects.protocol import Dialect
from apps.gateway.call import Call
from apps.gateway.permit import Permit
from apps.gateway.stores import Stores
from apps.upstreams.rules import (
    DEFAULT_ANTHROPIC_VERSION,
    FORWARDED_HEADERS,
    USER_AGENT,
    RouteSnapshot,
    UpstreamFailed,
    auth_headers,
)
from apps.upstreams.transport.protocol import (
    TransportError,
    UpstreamCall,
    UpstreamReply,
    UpstreamTimeout,
    UpstreamTooLarge,
)
from apps.usage.record import Record

logger = logging.getLogger(__name__)

MAX_ERROR_BYTES: Final = 1_048_576
MAX_ATTEMPTS: Final = 3
HANDED_ON: Final = {400: "invalid_request", 413: "body_too_large", 422: "invalid_request"}
"""The caller's own mistakes, as an upstream sees them."""
OPERATORS: Final = frozenset({401, 402, 403, 404})
"""Mistakes of the operator's: a wrong credential, an unpaid bill, a model that is not there."""
RATE_LIMITED: Final = 429
BUSY: Final = frozenset({RATE_LIMITED, 529, 503})
CONTEXT_MARKS: Final = (b"context_length_exceeded", b"prompt is too long", b"maximum context length")
DEFAULT_BUSY_RETRY_S: Final = 5
MAX_RETRY_AFTER_S: Final = 3_600


@dataclass(slots=True)
class Forwarded:
    """An upstream that answered 2xx: its head is here, its body is not."""

    route: RouteSnapshot
    reply: UpstreamReply
    began_at: float
    """Monotonic: when the upstream was called, for the circuit."""


async def forward(call: Call, permit: Permit, *, max_tokens: int | None, record: Record, stores: Stores) -> Forwarded:
    """Send the call to the first route that takes it; `record` names the one that was called last.

    Raises: UpstreamFailed.
    """
    failure: UpstreamFailed | None = None
    attempts = 0
    for route in permit.routes:
        if attempts == MAX_ATTEMPTS:
            break
        if not stores.governor.may_call(route.key):
            failure = failure or UpstreamFailed(
                "circuit_open", f"{permit.model.model_id} is failing upstream; its circuit is open.", retry_after_s=5
            )
            continue
        attempts += 1
        record.route_id, record.provider = route.route_id, route.provider
        began_at = clock.monotonic()
        try:
            reply = await _send(call, permit, route, max_tokens=max_tokens, stores=stores)
        except UpstreamFailed:
            # The caller's own mistake: the upstream is well.
            stores.governor.report(route.key, ok=True, began_at=began_at)
            raise
        except _Retryable as error:
            stores.governor.report(route.key, ok=not error.is_failure, began_at=began_at)
            failure = error.failure
            continue
        return Forwarded(route, reply, began_at)
    assert failure is not None
    raise failure


class _Retryable(Exception):
    """This route failed before a byte reached the caller: the next may try."""

    def __init__(self, failure: UpstreamFailed, *, is_failure: bool = True) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.is_failure = is_failure
        """Whether the circuit counts it: an upstream that limits our rate is well."""


async def _send(
    call: Call, permit: Permit, route: RouteSnapshot, *, max_tokens: int | None, stores: Stores
) -> UpstreamReply:
    dialect = permit.dialect
    body = dialect.upstream_body(
        permit.request,
        upstream_model=route.upstream_model,
        max_tokens=max_tokens,
        account_tag=permit.account.account_id.hex,
    )
    try:
        reply = await stores.transport.send(
            UpstreamCall(
                url=route.base_urls[dialect.name] + dialect.upstream_path,
                headers=upstream_headers(call, dialect, route),
                body=body,
                connect_timeout_s=route.connect_timeout_s,
                first_byte_timeout_s=route.first_byte_timeout_s,
            )
        )
    except TransportError as error:
        raise _Retryable(transport_failure(error)) from error
    if not 200 <= reply.status < 300:
        await _refuse(reply, permit, route)
    return reply


def upstream_headers(call: Call, dialect: Dialect, route: RouteSnapshot) -> dict[str, str]:
    """All headers that go upstream: ours, the route's credential, and the few of the caller's that are listed."""
    headers = {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": USER_AGENT,
        **auth_headers(dialect.name, route.credential),
    }
    if dialect.is_anthropic:
        headers["anthropic-version"] = DEFAULT_ANTHROPIC_VERSION
        for name in FORWARDED_HEADERS:
            value = call.headers.get(name)
            if value is not None:
                headers[name.decode()] = value.decode("latin-1")
    return headers


async def _refuse(reply: UpstreamReply, permit: Permit, route: RouteSnapshot) -> NoReturn:
    """Turn an upstream's error status into ours.

    Raises: UpstreamFailed where the caller is at fault, _Retryable where another route may do better.
    """
    status = reply.status
    try:
        body = await reply.read(MAX_ERROR_BYTES)
    except TransportError:
        body = b""
    finally:
        reply.close()
    if status in HANDED_ON:
        code = HANDED_ON[status]
        if any(mark in body for mark in CONTEXT_MARKS):
            code = "context_length_exceeded"
        raise UpstreamFailed(code, permit.dialect.read_error(status, body), status=status)
    if status in OPERATORS:
        logger.error("route %s (%s) refuses us with %d: check its credential", route.key, route.provider, status)
        raise _Retryable(UpstreamFailed("upstream_error", "The upstream could not serve this call."))
    if status in BUSY:
        retry_after_s = read_retry_after(reply.headers.get("retry-after"))
        raise _Retryable(
            UpstreamFailed(
                "upstream_overloaded",
                f"{permit.model.model_id} is overloaded upstream. Try again shortly.",
                retry_after_s=retry_after_s,
            ),
            is_failure=status != RATE_LIMITED,
        )
    raise _Retryable(UpstreamFailed("upstream_error", "The upstream failed to serve this call."))


def read_retry_after(text: str | None) -> int:
    """Seconds to wait, as the upstream says, within reason."""
    if text is not None and text.isascii() and text.isdigit():
        return min(max(int(text), 1), MAX_RETRY_AFTER_S)
    return DEFAULT_BUSY_RETRY_S


def transport_failure(error: TransportError) -> UpstreamFailed:
    """What a caller is told of a broken connection."""
    if isinstance(error, UpstreamTimeout):
        return UpstreamFailed("upstream_timeout", "The upstream did not answer in time.")
    if isinstance(error, UpstreamTooLarge):
        return UpstreamFailed("upstream_error", "The upstream's reply is too large.")
    return UpstreamFailed("upstream_error", "The upstream could not be reached, or broke off its reply.")
