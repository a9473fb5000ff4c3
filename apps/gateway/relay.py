"""A stream on its way: event by event to the caller, its end withheld until the bill is durable.

The relay runs in the call's own task and owns the upstream's stream. A caller that hangs up does not end it: the
stream is read on within bounds for its usage, then billed. Deadlines are one timer per stream, not one per chunk.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from apps.core import clock
from apps.core.errors import GatewayError
from apps.core.tokens import TokenUsage
from apps.dialects.protocol import StreamRelay, StreamState
from apps.gateway import log, respond
from apps.gateway.call import Message, Receive, Send
from apps.gateway.circuits import report
from apps.gateway.forward import Forwarded, transport_failure
from apps.gateway.journey import Journey, Unheard
from apps.gateway.keeping import KeptStream, keeps_reply, mark_of
from apps.gateway.metering import meter
from apps.gateway.running import STOPPED, Running, settle
from apps.gateway.sender import Sender
from apps.gateway.state import keep_states
from apps.gateway.stores import Stores
from apps.gateway.watch import Watch
from apps.ledger.committer import LedgerUnavailable
from apps.ledger.operations import Pending, Settled
from apps.upstreams.rules import UpstreamFailed
from apps.upstreams.transport.protocol import TransportError

logger = logging.getLogger(__name__)

DRAIN_BYTES: Final = 262_144
MAX_DRAINS: Final = 32
"""Bounds within which a stream is read on after its caller left, beside DRAIN_S (SPEC 2.3)."""


async def stream(running: Running, journey: Journey, receive: Receive, send: Send, stores: Stores) -> int:
    """Find an upstream and relay its stream; return the tokens it used. The caller hears of us meanwhile, and a call
    that fails after that ends with an error event.

    Raises: GatewayError, where the call failed before anything was sent.
    """
    sender = Sender(running, send, stores)
    try:
        while True:
            forwarded = await journey.next()
            try:
                return await relay(running, forwarded, receive, sender, stores)
            except Unheard as unheard:
                sender.watch.wait()
                journey.lost(forwarded, unheard.failure)
            finally:
                forwarded.reply.close()
    except GatewayError as failure:
        if not sender.has_begun:
            raise
        return await sender.fail(failure)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or not sender.has_begun or running.is_settled:
            raise
        task.uncancel()
        return await sender.fail(GatewayError("internal_error", STOPPED))
    finally:
        sender.close()


async def relay(running: Running, forwarded: Forwarded, receive: Receive, sender: Sender, stores: Stores) -> int:
    """Relay a stream, settle it, and send its withheld end with the bill; return the tokens it used.

    Raises: Unheard, where its upstream failed before the caller heard a word; GatewayError, where the call failed.
    """
    permit, route = running.permit, forwarded.route
    machine = forwarded.passage.relay(model_id=None if route.exposes_model else permit.model.model_id)
    mark, rest = mark_of(running.call.request_id), b""
    kept = KeptStream(machine) if keeps_reply(running.call, permit) else None
    if kept is not None:
        machine = kept
    sender.answers(forwarded, machine)
    watch = sender.watch
    log.note_reply(running.record, forwarded)
    gone = asyncio.ensure_future(receive())
    await asyncio.sleep(0)  # who left before the upstream answered is noticed now
    watch.begin(idle_s=route.idle_timeout_s, ends_at=forwarded.ends_at)
    receipt: Settled | Pending | None = None
    try:
        failure = await _read(forwarded, machine, sender, gone, stores)
        is_abandoned = gone.done() or watch.reason in {"drained", "stuck"}
        watch.rest(pings=not is_abandoned)
        seconds = clock.monotonic() - running.call.started - watch.waited_for_caller_s
        running.record.latency_ms = log.milliseconds(seconds)
        report(stores, route, permit, ok=not isinstance(failure, UpstreamFailed), began_at=forwarded.began_at)
        if isinstance(failure, UpstreamFailed) and not sender.has_spoken and not is_abandoned:
            raise Unheard(failure)
        if failure is None:
            usage, is_estimated = await _usage(running, machine.state, stores)
            machine.state.usage = usage
            status = "abandoned" if is_abandoned else "succeeded"
            # What was abandoned half-way is no reply.
            is_reply = machine.state.is_complete or not is_abandoned
            rest = machine.finish(mark) if is_reply else b""
            receipt = await settle(
                running,
                usage,
                status=status,
                is_estimated=is_estimated,
                stores=stores,
                reply=kept.whole() if kept is not None and is_reply else None,
            )
            if made := machine.state.states:
                account_id = permit.key.account_id
                await keep_states(account_id, made, route=route, tokens=usage.total, stores=stores)
    except (LedgerUnavailable, Unheard):
        raise
    except Exception:
        if running.is_settled:
            raise
        # Its end could not be written, so it is not billed.
        logger.exception("%s: the stream's end could not be told", running.call.request_name)
        failure = GatewayError("internal_error", "The gateway failed to end this reply. It was not charged.")
    finally:
        sender.hush()
        gone.cancel()
    if failure is not None:
        raise failure
    assert receipt is not None
    block = respond.hypereal_block(permit.model.model_id, receipt, is_estimated=is_estimated)
    if not is_abandoned:
        await sender.end(rest.replace(mark, block))
    return usage.total


class _Drain:
    """How far a stream is read on after its caller left: so many bytes, so many streams per process."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._bytes = 0
        self._has_place = False

    def allows(self, size: int) -> bool:
        """Whether it is worth reading on, with `size` more bytes read."""
        if not self._has_place:
            if self._stores.draining >= MAX_DRAINS:
                return False
            self._stores.draining += 1
            self._has_place = True
        self._bytes += size
        return self._bytes <= DRAIN_BYTES

    def end(self) -> None:
        if self._has_place:
            self._stores.draining -= 1


async def _read(
    forwarded: Forwarded,
    machine: StreamRelay,
    sender: Sender,
    gone: asyncio.Future[Message],
    stores: Stores,
) -> GatewayError | None:
    """Feed the machine until the stream is complete, fails, or is not worth reading on; return what failed."""
    state, watch = machine.state, sender.watch
    drain = _Drain(stores)
    gone.add_done_callback(lambda _: watch.drain())
    try:
        async for data in forwarded.reply.chunks():
            watch.read()
            out = machine.feed(data)
            if state.failure is not None:
                await _pass_on_before_failure(out, sender, gone)
                return _stream_failure(state)
            if not gone.done():
                await _pass_on(out, sender)
            elif not state.is_complete and not drain.allows(len(data)):
                watch.reason = "drained"
                return None
            if state.is_complete:
                return None
        out = machine.end()
        if state.failure is not None or not state.is_complete:
            await _pass_on_before_failure(out, sender, gone)
            return _stream_failure(state)
        if not gone.done():
            await _pass_on(out, sender)
    except TransportError as error:
        return transport_failure(error)
    except asyncio.CancelledError:
        return _deadline(watch, has_spoken=sender.has_spoken)
    except Exception:
        logger.exception("%s: the upstream's stream could not be read", forwarded.route.key)
        return UpstreamFailed("upstream_error", "The upstream's reply could not be read.")
    finally:
        drain.end()
    return None


async def _pass_on(data: bytes, sender: Sender) -> None:
    if data:
        sender.watch.sending()
        await sender.part(data)
        sender.watch.read()


async def _pass_on_before_failure(data: bytes, sender: Sender, gone: asyncio.Future[Message]) -> None:
    """What came in one piece with the failure, before it. A caller that heard nothing yet gets a plain error."""
    if sender.has_spoken and not gone.done():
        await _pass_on(data, sender)


def _deadline(watch: Watch, *, has_spoken: bool) -> GatewayError | None:
    """The relay was cancelled: by its watch, which says why, or by a server whose time to stop is over.

    Our own total deadline, after the caller got a part of the answer, is no failure: the answer ends there, billed.
    """
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()
    if not watch.reason:
        return GatewayError("internal_error", STOPPED)
    if watch.reason == "idle" or (watch.reason == "total" and not has_spoken):
        return UpstreamFailed("upstream_timeout", "The upstream did not answer in time.")
    return None


def _stream_failure(state: StreamState) -> UpstreamFailed:
    code = "upstream_overloaded" if state.failure_is_overload else "upstream_error"
    return UpstreamFailed(code, state.failure or "The upstream broke off its reply.")


async def _usage(running: Running, state: StreamState, stores: Stores) -> tuple[TokenUsage, bool]:
    """What to charge for, and whether it is an estimate."""
    is_final = state.counts_output and (state.is_complete or state.is_withholding)
    return await meter(running.permit, state, is_final=is_final, record=running.record, counter=stores.counter)
