"""One attempt at one route: what is sent, and what an upstream's error becomes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final, NoReturn

from apps.core import clock
from apps.dialects.common.stale import is_stale_reasoning
from apps.dialects.gemini import error as gemini
from apps.dialects.passage import Passage
from apps.dialects.protocol import ANTHROPIC_MESSAGES
from apps.gateway.beside import beside
from apps.gateway.call import Call
from apps.gateway.patience import Patience
from apps.gateway.permit import Permit
from apps.gateway.stores import Stores
from apps.gateway.ways import Way, open_way
from apps.upstreams.retry_after import read_retry_after
from apps.upstreams.rules import (
    DEFAULT_ANTHROPIC_VERSION,
    FORWARDED_HEADERS,
    USER_AGENT,
    RouteSnapshot,
    UpstreamFailed,
    auth_headers,
    betas_within,
)
from apps.upstreams.transport.protocol import (
    TransportError,
    UpstreamCall,
    UpstreamGone,
    UpstreamReply,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
    UpstreamUnresponsive,
)

logger = logging.getLogger(__name__)

MAX_ERROR_BYTES: Final = 1_048_576
ERROR_BODY_S: Final = 5.0
"""For the body of an error: past it the status has to do."""
HANDED_ON: Final = {400: "invalid_request", 413: "body_too_large", 422: "invalid_request"}
"""The caller's own mistakes, as an upstream sees them."""
OPERATORS: Final = frozenset({401, 402, 403, 404})
"""Mistakes of the operator's: a wrong credential, an unpaid bill, a model that is not there."""
RATE_LIMITED: Final = 429
BUSY: Final = frozenset({RATE_LIMITED, 529, 503})
REPEATED: Final = BUSY | {502, 504}
"""What passes: the same route may be asked again, a rate limit only where it says when."""
CONTEXT_MARKS: Final = (b"context_length_exceeded", b"prompt is too long", b"maximum context length")
DEFAULT_BUSY_RETRY_S: Final = 5


@dataclass(slots=True)
class Forwarded:
    """An upstream that answered 2xx: its head is here, its body is not."""

    route: RouteSnapshot
    passage: Passage
    """How the reply travels back."""
    reply: UpstreamReply
    began_at: float
    """Monotonic: when the upstream was called, for the circuit."""
    ends_at: float
    """Monotonic: when the call's time is over, further attempts included."""


class Failed(Exception):
    """This route failed before a byte reached the caller: it may be asked again, or another."""

    def __init__(
        self,
        failure: UpstreamFailed,
        status: str,
        *,
        is_failure: bool = True,
        may_repeat: bool = False,
        at_once: bool = False,
        told_s: int | None = None,
    ) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.status = status
        """What came: a status, or a word for what came in its place."""
        self.is_failure = is_failure
        """Whether the circuit counts it: an upstream that limits our rate is well."""
        self.may_repeat = may_repeat
        """Whether the same route may do better soon."""
        self.at_once = at_once
        """It may do better on another connection, without any wait."""
        self.told_s = told_s
        """When it told us to come back."""


class _StaleReasoning(Exception):
    """The upstream refuses the reasoning of earlier answers as none of its own; the way has forgotten it by now."""


async def attempt(
    call: Call, permit: Permit, way: Way, body: bytes, *, max_tokens: int | None, ends_at: float, stores: Stores
) -> UpstreamReply:
    """Ask a route once; a second time where it refuses the reasoning of earlier answers, without that.

    Raises: UpstreamFailed where the caller is at fault, Failed where the route is.
    """
    try:
        return await _send(call, permit, way, body, ends_at=ends_at, stores=stores)
    except _StaleReasoning:
        return await _send(call, permit, way, way.body(max_tokens=max_tokens), ends_at=ends_at, stores=stores)


async def write(permit: Permit, route: RouteSnapshot, *, max_tokens: int | None) -> tuple[Way, bytes]:
    """The way on this route, and the body to send. Raises: UnsupportedField, where it cannot be said there."""

    def write() -> tuple[Way, bytes]:
        way = permit.way if route is permit.way.route else _open_way(permit, route)
        return way, way.body(max_tokens=max_tokens)

    return await beside(write, size=permit.request.demand.text_bytes)


def _open_way(permit: Permit, route: RouteSnapshot) -> Way:
    """The way on a route after the first. Raises: UnsupportedField, where it cannot be said there."""
    return open_way(
        route,
        model=permit.model,
        dialect=permit.dialect,
        request=permit.request,
        account_tag=permit.account.account_id.hex,
    )


async def _send(call: Call, permit: Permit, way: Way, body: bytes, *, ends_at: float, stores: Stores) -> UpstreamReply:
    route, passage = way.route, way.passage
    first_byte_s = route.first_byte_timeout_s
    left_s = ends_at - clock.monotonic()
    if left_s < first_byte_s:
        # In tenths: each new figure is a new set of the client's deadlines.
        first_byte_s = max(0.1, round(left_s, 1))
    try:
        reply = await stores.transport.send(
            UpstreamCall(
                url=route.base_urls[passage.spoken] + passage.upstream_path(upstream_model=route.upstream_model),
                headers=upstream_headers(call, passage, route, context_tokens=permit.model.context_tokens),
                body=body,
                connect_timeout_s=route.connect_timeout_s,
                first_byte_timeout_s=first_byte_s,
            )
        )
    except TransportError as error:
        raise _unanswered(error, permit) from error
    if not 200 <= reply.status < 300:
        await _refuse(reply, permit, way, stores)
    return reply


def _unanswered(error: TransportError, permit: Permit) -> Failed:
    """What follows from an upstream that sent no reply. What it may have begun is repeated elsewhere, but here only
    where its connection went away; what it was asked to keep is not repeated at all, or it would be kept twice."""
    failure = transport_failure(error)
    match error:
        case UpstreamUnresponsive():
            return Failed(failure, "unreachable")
        case UpstreamUnreachable():
            return Failed(failure, "unreachable", may_repeat=True)
        case UpstreamGone():
            may_repeat = not permit.request.wants_storing
            return Failed(failure, "connection lost", may_repeat=may_repeat, at_once=may_repeat)
        case UpstreamTimeout():
            return Failed(failure, "timeout")
    return Failed(failure, "no reply")


def upstream_headers(call: Call, passage: Passage, route: RouteSnapshot, *, context_tokens: int) -> dict[str, str]:
    """All headers that go upstream: ours, the route's credential, and the few of the caller's that are listed, where
    it speaks the upstream's own dialect."""
    headers = {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": USER_AGENT,
        **auth_headers(passage.spoken, route.credential),
    }
    if passage.spoken == ANTHROPIC_MESSAGES:
        headers["anthropic-version"] = DEFAULT_ANTHROPIC_VERSION
        for name in () if passage.is_translated else FORWARDED_HEADERS:
            value = call.headers.get(name)
            if value is not None:
                headers[name.decode()] = value.decode("latin-1")
        if betas := headers.get("anthropic-beta"):
            headers["anthropic-beta"] = betas_within(betas, context_tokens=context_tokens)
    return headers


async def _refuse(reply: UpstreamReply, permit: Permit, way: Way, stores: Stores) -> NoReturn:
    """Turn an upstream's error status into ours.

    Raises: UpstreamFailed where the caller is at fault, _StaleReasoning where the same route may take less, Failed
    where another route may do better, or the same one later.
    """
    status = reply.status
    try:
        with Patience(ERROR_BODY_S):
            body = await reply.read(MAX_ERROR_BYTES)
    except (TransportError, TimeoutError):
        body = b""
    finally:
        reply.close()
    if status in HANDED_ON and not gemini.is_operators(body):
        if is_stale_reasoning(body) and way.forget_reasoning():
            raise _StaleReasoning
        code = HANDED_ON[status]
        if any(mark in body for mark in CONTEXT_MARKS) or gemini.is_too_long(body):
            code = "context_length_exceeded"
        raise UpstreamFailed(code, way.passage.read_error(status, body), status=status)
    if status in OPERATORS or status in HANDED_ON:
        _tell_operators(way.route, permit, status, stores)
        raise Failed(UpstreamFailed("upstream_error", "The upstream could not serve this call."), str(status))
    told_s = read_retry_after(reply.headers, told_s=gemini.retry_delay_s(body), now=clock.now())
    may_repeat = status in REPEATED and (told_s is not None or status != RATE_LIMITED)
    if status in BUSY:
        failure = UpstreamFailed(
            "upstream_overloaded",
            f"{permit.model.model_id} is overloaded upstream. Try again shortly.",
            retry_after_s=DEFAULT_BUSY_RETRY_S if told_s is None else told_s,
        )
        is_failure = status != RATE_LIMITED
    else:
        failure, is_failure = UpstreamFailed("upstream_error", "The upstream failed to serve this call."), True
    raise Failed(failure, str(status), is_failure=is_failure, may_repeat=may_repeat, told_s=told_s)


def _tell_operators(route: RouteSnapshot, permit: Permit, status: int, stores: Stores) -> None:
    logger.error("route %s (%s) refuses us with %d: check its credential", route.key, route.provider, status)
    stores.alerts.tell(
        "upstream_refuses_us",
        f"route {route.key}",
        f"{permit.model.model_id} via {route.provider} answers {status}: check the credential, the bill, and the"
        f" upstream's model name. Callers get 502.",
    )


async def read_whole(forwarded: Forwarded, limit: int) -> bytes:
    """A plain reply's body, within the route's deadlines: for silence, and for all of it.

    Raises: TransportError.
    """
    route, parts, size = forwarded.route, [], 0
    if int(forwarded.reply.headers.get("content-length", "0")) > limit:
        raise UpstreamTooLarge("the upstream's reply is too large")
    try:
        with Patience(forwarded.ends_at - clock.monotonic()), Patience(route.idle_timeout_s) as silence:
            async for part in forwarded.reply.chunks():
                silence.renew()
                size += len(part)
                if size > limit:
                    raise UpstreamTooLarge("the upstream's reply is too large")
                parts.append(part)
    except TimeoutError:
        raise UpstreamTimeout("the upstream's reply stopped") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def transport_failure(error: TransportError) -> UpstreamFailed:
    """What a caller is told of a broken connection."""
    if isinstance(error, UpstreamTimeout):
        return UpstreamFailed("upstream_timeout", "The upstream did not answer in time.")
    if isinstance(error, UpstreamTooLarge):
        return UpstreamFailed("upstream_error", "The upstream's reply is too large.")
    return UpstreamFailed("upstream_error", "The upstream could not be reached, or broke off its reply.")
