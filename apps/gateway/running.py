"""A call that was admitted and paid for, and the three ways it ends: settled, released, or shown to its caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from apps.catalog.pricing import quote
from apps.core import clock, headers
from apps.core.errors import GatewayError
from apps.core.tokens import TokenUsage
from apps.gateway import insuring, log, respond
from apps.gateway.call import Call
from apps.gateway.figures import governor_headers
from apps.gateway.forward import Forwarded
from apps.gateway.permit import Permit
from apps.gateway.stores import Stores
from apps.gateway.ways import Way
from apps.governor.store.protocol import Admission
from apps.insurance.rules import Claim
from apps.ledger.committer import LedgerUnavailable
from apps.ledger.operations import Granted, Pending, Release, Settle, Settled
from apps.usage.record import Record

STOPPED: Final = "The gateway was stopped before this call ended. Try again."


@dataclass(slots=True)
class Running:
    """A call that was admitted and paid for: what relay, settlement and release need."""

    call: Call
    permit: Permit
    admission: Admission
    grant: Granted
    record: Record
    max_tokens: int | None
    """What `max_tokens` was lowered to; None: it was not."""
    is_settled: bool = False
    """The settlement is under way or done: whatever happens to the call from here on, it is billed."""
    claim: Claim | None = None
    """Of a plain call that is settled: what insurance says of it."""


async def settle(
    running: Running,
    usage: TokenUsage,
    *,
    status: str,
    is_estimated: bool,
    stores: Stores,
    reply: bytes | None = None,
) -> Settled | Pending:
    """Charge a call for what it used; durable when this returns. `reply` is kept for repeats.

    Raises: LedgerUnavailable, and then nothing is durable.
    """
    record = running.record
    record.status = status
    record.http_status = 200
    record.is_estimated = is_estimated
    record.use(usage)
    charge_micro = quote(running.permit.price, usage)
    claim = insuring.insure(running.permit.model.insurance, record, charge_micro)
    running.is_settled = True
    try:
        receipt = await stores.ledger.settle(
            Settle(
                request_id=running.call.request_id,
                account_id=running.permit.key.account_id,
                charge_micro=charge_micro,
                record=record,
                windows=running.grant.windows,
                reply=reply,
                payout_percent=0 if claim is None else claim.percent,
                defers_payout=record.is_stream,
            )
        )
    except LedgerUnavailable:
        running.is_settled = False
        raise
    if claim is not None:
        if not record.is_stream:
            running.claim = insuring.settled(claim, receipt)
        elif claim.percent:
            stores.claims_due()
    return receipt


def release(running: Running, error: GatewayError, stores: Stores) -> None:
    """Give the hold of a failed call back and log why; nothing waits for it. A call that is billed has no hold left."""
    if running.is_settled:
        return
    record = running.record
    log.note_failure(record, error, status="failed", anthropic=running.call.is_anthropic)
    record.latency_ms = log.milliseconds(clock.monotonic() - running.call.started)
    stores.ledger.record(Release(running.call.request_id, running.permit.key.account_id, record, running.grant.windows))


def reply_headers(running: Running, answered_by: Forwarded | Way, stores: Stores) -> list[respond.Header]:
    """Everything beside the content type that a successful reply carries."""
    shown = [
        *respond.request_headers(running.call),
        *governor_headers(
            running.admission,
            stores.governor,
            route_key=answered_by.route.key,
            anthropic=running.call.is_anthropic,
        ),
    ]
    policy = running.permit.model.insurance
    if running.record.is_stream:
        shown += insuring.policy_headers(policy) if policy is not None else ()
    elif running.claim is not None:
        shown += insuring.claim_headers(running.claim)
    if running.max_tokens is not None:
        shown.append((headers.MAX_TOKENS, b"%d" % running.max_tokens))
    adapted = answered_by.passage.adapted
    if adapted:
        shown.append((headers.ADAPTED, ", ".join(adapted).encode("latin-1", "replace")))
    return shown
