"""What insurance says of a call: in its record, and to its caller in headers and, of a plain reply, in the body."""

from __future__ import annotations

from typing import Final

from apps.catalog.rules import InsurancePolicy
from apps.core import headers
from apps.core.money import json_amount
from apps.gateway.respond import Header
from apps.insurance.rules import (
    ACTIVE,
    DAILY_CAP_REACHED,
    LATENCY_THRESHOLD_EXCEEDED,
    NOT_TRIGGERED,
    PAID,
    TRIGGERS,
    Claim,
    Served,
    assess,
    conclude,
)
from apps.ledger.idempotency import PastCall
from apps.ledger.operations import Pending, Settled
from apps.usage.record import CAPPED, DUE, Record

ARMED: Final = ", ".join(TRIGGERS).encode()


def insure(policy: InsurancePolicy | None, record: Record, charge_micro: int) -> Claim | None:
    """Assess a call whose record is complete but for the money, and write down by what; None: it is not insured."""
    if policy is None:
        return None
    served = Served(
        latency_ms=record.latency_ms,
        output_tokens=record.output_tokens,
        is_stream=record.is_stream,
        charge_micro=charge_micro,
        is_succeeded=record.status == "succeeded",
        is_estimated=record.is_estimated,
    )
    claim = assess(policy, served)
    record.insurance_version_id = policy.version_id
    record.threshold_ms = claim.threshold_ms
    record.claim, record.claim_trigger = claim.status, claim.trigger
    return claim


def settled(claim: Claim, receipt: Settled | Pending) -> Claim:
    """The claim of a plain reply with what was really charged and paid; of a pending settlement, with what will be."""
    paid = receipt.compensated_micro if isinstance(receipt, Settled) else None
    return conclude(claim, charge_micro=receipt.charge_micro, compensated_micro=paid)


def past_claim(past: PastCall) -> Claim | None:
    """The claim of a call that is repeated, as far as it is known by now."""
    if not past.claim or past.threshold_ms is None:
        return None
    paid = past.compensated_micro
    status, reason = (PAID, LATENCY_THRESHOLD_EXCEEDED) if paid else (NOT_TRIGGERED, "")
    if past.claim == DUE:
        status = ACTIVE
    elif past.claim == CAPPED and not paid:
        reason = DAILY_CAP_REACHED
    return Claim(
        status,
        past.latency_ms,
        past.threshold_ms,
        past.charge_micro,
        trigger=past.claim_trigger,
        reason=reason,
        compensated_micro=paid,
        is_capped=past.claim == CAPPED,
    )


def policy_headers(policy: InsurancePolicy) -> list[Header]:
    """Of a stream that begins: that it is insured, against what, and from when on, tokens not counted yet."""
    return [
        (headers.INSURANCE_STATUS, ACTIVE.encode()),
        (headers.INSURANCE_TRIGGER, ARMED),
        (headers.INSURANCE_THRESHOLD_MS, b"%d" % policy.threshold_ms),
    ]


def claim_headers(claim: Claim) -> list[Header]:
    shown: list[Header] = [(headers.INSURANCE_STATUS, claim.status.encode())]
    if claim.trigger:
        shown.append((headers.INSURANCE_TRIGGER, claim.trigger.encode()))
    shown.append((headers.INSURANCE_LATENCY_MS, b"%d" % claim.latency_ms))
    shown.append((headers.INSURANCE_THRESHOLD_MS, b"%d" % claim.threshold_ms))
    if claim.trigger and claim.status != ACTIVE:
        shown.append((headers.INSURANCE_CREDITS, json_amount(claim.compensated_micro).encode()))
    return shown


def claim_block(claim: Claim | None) -> bytes:
    """The `insurance` of the `hypereal` object, with the comma before it; nothing where a call is not insured."""
    if claim is None:
        return b""
    why = b',"trigger":"%s","reason":"%s"' % (claim.trigger.encode(), claim.reason.encode()) if claim.trigger else b""
    return b',"insurance":{"status":"%s"%s,"latency_ms":%d,"threshold_ms":%d,%s,%s%s}' % (
        claim.status.encode(),
        why,
        claim.latency_ms,
        claim.threshold_ms,
        b'"credits_charged":%s' % json_amount(claim.charge_micro).encode(),
        b'"credits_compensated":%s' % json_amount(claim.compensated_micro).encode(),
        b',"capped":true' if claim.is_capped else b"",
    )
