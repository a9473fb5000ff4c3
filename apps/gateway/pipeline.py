"""The whole life of a managed request: identify, vet, permit, admit, hold, forward, meter, settle, respond."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Final

from apps.core import clock
from apps.core.errors import GatewayError
from apps.dialects.protocol import Dialect
from apps.gateway import insuring, log, respond
from apps.gateway.afford import afford
from apps.gateway.beside import beside
from apps.gateway.call import Call, Receive, Send
from apps.gateway.circuits import report
from apps.gateway.forward import Forwarded, read_whole, transport_failure
from apps.gateway.guard import BodyRefused, check_length, read_body
from apps.gateway.idempotency import check_key, name_call, replay
from apps.gateway.identify import identify, read_client
from apps.gateway.journey import Journey, Unheard
from apps.gateway.keeping import keeps_reply, kept, mark_of
from apps.gateway.metering import meter
from apps.gateway.permit import Permit, ask_capacity, permit
from apps.gateway.relay import stream
from apps.gateway.running import STOPPED, Running, release, reply_headers, settle
from apps.gateway.state import find_states, keep_states
from apps.gateway.stores import Stores
from apps.gateway.vet import vet
from apps.governor.store.protocol import Admission
from apps.governor.telemetry.tally import NO_MODEL
from apps.keys.rules import KeySnapshot
from apps.ledger.idempotency import AlreadyServed
from apps.upstreams.rules import UpstreamFailed
from apps.upstreams.transport.protocol import TransportError
from apps.usage.record import Record

logger = logging.getLogger(__name__)

MAX_REPLY_BYTES: Final = 67_108_864
ONE_HOUR_WRITES: Final = (b'"1h"', rb"\u0031", rb"\u0068")
"""Where none of these is in a body, no cache write can live for an hour. Letters may be escaped, though nobody does."""


async def serve(call: Call, dialect: Dialect, receive: Receive, send: Send, stores: Stores) -> None:
    """Serve one managed request. Whatever goes wrong becomes one error in the caller's dialect.

    Raises: GatewayError before anything was sent; CallerLeft, CallerGone where nobody is left to be told.
    """
    stores.calls += 1
    try:
        await _serve(call, dialect, receive, send, stores)
    finally:
        stores.calls -= 1


async def _serve(call: Call, dialect: Dialect, receive: Receive, send: Send, stores: Stores) -> None:
    key = await identify(call, stores)
    account = stores.accounts.get(key.account_id)
    record: Record | None = None
    body, standing = b"", None
    try:
        check_length(call)
        check_key(call)
        body = await read_body(call, receive)
        standing = stores.standing.find(call, body, key, account)
        if standing is not None:
            raise standing
        request = dialect.parse(body)
        client = read_client(call)
        record = log.open_record(call, key=key, request=request, dialect=dialect, client=client)
        await vet(call, request, key=key, client=client, stores=stores)
        found = await find_states(request, key.account_id, stores)
        call.idempotency = await name_call(call, dialect, body, pepper=stores.key_pepper)
        asking = partial(
            permit,
            call,
            request,
            key=key,
            client=client,
            dialect=dialect,
            writes_1h=any(mark in body for mark in ONE_HOUR_WRITES),
            found=found,
            stores=stores,
        )
        permitted = await beside(asking, size=len(body))
        record.session_id = log.clean_session(permitted.session_id)
        stores.notices.look(call, request, dialect=dialect)
        call.capacity, call.route_key = permitted.model.capacity, permitted.routes[0].key
        call.admission = admission = await admit(permitted, receive, stores)
    except GatewayError as error:
        if error is not standing:
            stores.standing.note(call, body, key, account, error)
        _log_refusal(call, key, record, error, dialect=dialect, stores=stores)
        raise
    tokens: int | None = None
    try:
        record.queue_ms = admission.queue_ms
        try:
            running = await pay(call, permitted, admission, record, receive, stores)
        except GatewayError as error:
            stores.standing.note(call, body, key, account, error)
            _log_refusal(call, key, record, error, dialect=dialect, stores=stores)
            raise
        except AlreadyServed as repeat:
            await replay(call, permitted, repeat.past, admission, send=send, stores=stores)
            return
        tokens = await answer(running, receive, send, stores)
    finally:
        stores.governor.finish(admission, tokens=tokens)
        stores.telemetry.end(record, call.tally)


async def admit(permitted: Permit, receive: Receive, stores: Stores) -> Admission:
    """Wait for a place on the model's path. Raises: Shed, CallerGone."""
    return await stores.governor.admit(ask_capacity(permitted), gone=_Hangup(receive))


class _Hangup:
    """Completes when the caller hangs up; listens only if somebody waits for it: most calls never queue."""

    __slots__ = ("_receive",)

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    def __await__(self):  # type: ignore[no-untyped-def]  # a generator of the event loop's making
        return self._receive().__await__()


async def pay(
    call: Call, permitted: Permit, admission: Admission, record: Record, receive: Receive, stores: Stores
) -> Running:
    """Hold the credits that the call may cost. Raises: HoldRefused, LedgerUnavailable, CallerGone, AlreadyServed."""
    grant, lowered = await afford(call, permitted, receive, stores)
    record.held_micro = grant.amount_micro
    record.price_version_id = permitted.price.version_id
    return Running(call, permitted, admission, grant, record, lowered)


async def answer(running: Running, receive: Receive, send: Send, stores: Stores) -> int:
    """Forward a paid call and bring its answer back, billed; return the tokens it used. A call that fails gives its
    hold back.

    Raises: GatewayError, where nothing was sent yet.
    """
    journey = Journey(running.call, running.permit, max_tokens=running.max_tokens, record=running.record, stores=stores)
    try:
        if running.permit.request.is_stream:
            return await stream(running, journey, receive, send, stores)
        return await whole(running, journey, send, stores)
    except GatewayError as error:
        release(running, error, stores)
        raise
    except asyncio.CancelledError:
        release(running, GatewayError("internal_error", STOPPED), stores)
        raise
    except BaseException:
        release(running, GatewayError("internal_error", "The gateway failed."), stores)
        raise


async def whole(running: Running, journey: Journey, send: Send, stores: Stores) -> int:
    """Find an upstream whose plain reply can be read, and send it on. Raises: GatewayError."""
    while True:
        forwarded = await journey.next()
        try:
            return await reply_whole(running, forwarded, send, stores)
        except Unheard as unheard:
            journey.lost(forwarded, unheard.failure)
        finally:
            forwarded.reply.close()


async def reply_whole(running: Running, forwarded: Forwarded, send: Send, stores: Stores) -> int:
    """Read a plain reply, settle it, and send it with its bill. Raises: Unheard, where it is no reply."""
    passage, route, permitted = forwarded.passage, forwarded.route, running.permit
    try:
        body = await read_whole(forwarded, MAX_REPLY_BYTES)
        running.record.latency_ms = log.milliseconds(clock.monotonic() - running.call.started)
        facts = passage.read_reply(body)
    except (TransportError, ValueError) as error:
        report(stores, route, permitted, ok=False, began_at=forwarded.began_at)
        if isinstance(error, TransportError):
            raise Unheard(transport_failure(error)) from error
        raise Unheard(UpstreamFailed("upstream_error", "The upstream's reply could not be read.")) from error
    running.record.first_byte_ms = running.record.latency_ms
    report(stores, route, permitted, ok=facts.failure is None, began_at=forwarded.began_at)
    log.note_reply(running.record, forwarded)
    if facts.failure is not None:
        raise Unheard(UpstreamFailed("upstream_error", facts.failure))
    usage, is_estimated = await meter(permitted, facts, is_final=True, record=running.record, counter=stores.counter)
    model_id = permitted.model.model_id
    shown_model_id = None if route.exposes_model else model_id
    mark = mark_of(running.call.request_id)
    # Made before it is paid for: what cannot be told is not billed.
    rendered = passage.render_reply(body, model_id=shown_model_id, hypereal=mark)
    receipt = await settle(
        running,
        usage,
        status="succeeded",
        is_estimated=is_estimated,
        stores=stores,
        reply=kept(rendered) if keeps_reply(running.call, permitted) else None,
    )
    if facts.states and permitted.request.wants_storing:
        account_id = permitted.key.account_id
        await keep_states(account_id, facts.states, route=route, tokens=usage.total, stores=stores)
    insurance = insuring.claim_block(running.claim)
    block = respond.hypereal_block(model_id, receipt, is_estimated=is_estimated, insurance=insurance)
    rendered = rendered.replace(mark, block)
    running.call.is_answered = True
    await respond.send_reply(
        send, status=200, head=[respond.JSON, *reply_headers(running, forwarded, stores)], body=rendered
    )
    return usage.total


def _log_refusal(
    call: Call,
    key: KeySnapshot,
    record: Record | None,
    error: GatewayError,
    *,
    dialect: Dialect,
    stores: Stores,
) -> None:
    is_known = record is not None and stores.catalog.get(record.model_id) is not None
    stores.telemetry.refuse(record.model_id if record is not None and is_known else NO_MODEL, error.code)
    now_s = clock.monotonic()
    if isinstance(error, BodyRefused) or stores.refusals.has_enough(key.key_id, now_s=now_s):
        return
    if record is None:
        record = log.open_record(call, key=key, request=None, dialect=dialect, client=None)
    log.note_failure(record, error, status="refused", anthropic=call.is_anthropic)
    stores.refusals.add(record, now_s=now_s, ledger=stores.ledger)
