"""Whether a call is compensated, and with how much. Pure: a policy and what is known of a call in, a claim out.

Amounts are microcredits, times are milliseconds of a monotonic clock: from the request's last byte in to the upstream's
last byte, less what the gateway waited for its caller to read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from apps.catalog.rules import InsurancePolicy
from apps.core.money import payout_micro

PAID: Final = "paid"
NOT_TRIGGERED: Final = "not_triggered"
ACTIVE: Final = "active"
"""Of a stream that has just begun: it is insured, and what it comes to is not known yet."""

LATENCY: Final = "latency"
LATENCY_THRESHOLD_EXCEEDED: Final = "latency_threshold_exceeded"
DAILY_CAP_REACHED: Final = "daily_cap_reached"
"""Something triggered, and the account got all that insurance pays it in a day before."""


@dataclass(frozen=True, slots=True)
class Served:
    """A call that was served, as far as insurance looks at it."""

    latency_ms: int
    output_tokens: int
    is_stream: bool
    charge_micro: int
    is_succeeded: bool = True
    """False: its caller abandoned it."""
    is_estimated: bool = False
    """Not what its upstream counted: nothing is paid on a guess."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What insurance says of one call."""

    status: str
    latency_ms: int
    threshold_ms: int
    charge_micro: int
    trigger: str = ""
    reason: str = ""
    """With `trigger`, empty where nothing triggered."""
    percent: int = 0
    """Of the charge, that is to be paid; 0 where nothing triggered."""
    compensated_micro: int = 0
    is_capped: bool = False
    """The day's cap left less than was due."""


Trigger = Callable[[Served, int], str]
"""What makes a call abnormal: from it and its latency threshold, the reason; empty where it is as it should be."""


def is_slow(served: Served, threshold_ms: int) -> str:
    return LATENCY_THRESHOLD_EXCEEDED if served.latency_ms > threshold_ms else ""


TRIGGERS: Final[Mapping[str, Trigger]] = {LATENCY: is_slow}
"""By name, in the order in which they are asked: the first one pays. Names end up on usage records: they stay."""


def threshold_of(policy: InsurancePolicy, *, output_tokens: int, is_stream: bool) -> int:
    """What a call's latency is held against: a stream may take longer for every token that it brings."""
    return policy.threshold_ms + (policy.ms_per_output_token * output_tokens if is_stream else 0)


def assess(policy: InsurancePolicy, served: Served) -> Claim:
    """What is due for a call, by the policy that was in force when it was admitted. Only calls that succeeded and were
    charged what their upstream counted are compensated; the day's cap is the ledger's to know (`conclude`)."""
    threshold_ms = threshold_of(policy, output_tokens=served.output_tokens, is_stream=served.is_stream)
    if served.is_succeeded and not served.is_estimated:
        for name, look in TRIGGERS.items():
            reason = look(served, threshold_ms)
            compensated = payout_micro(served.charge_micro, policy.percent) if reason else 0
            if compensated:
                return Claim(
                    PAID,
                    served.latency_ms,
                    threshold_ms,
                    served.charge_micro,
                    trigger=name,
                    reason=reason,
                    percent=policy.percent,
                    compensated_micro=compensated,
                )
    return Claim(NOT_TRIGGERED, served.latency_ms, threshold_ms, served.charge_micro)


def conclude(claim: Claim, *, charge_micro: int, compensated_micro: int | None) -> Claim:
    """The claim as it was settled: the charge may be less than was quoted, and so may the payout. None: the payout is
    not made yet, and will be what is due."""
    if not claim.percent and charge_micro == claim.charge_micro:
        return claim
    due = payout_micro(charge_micro, claim.percent)
    if not due:
        return Claim(NOT_TRIGGERED, claim.latency_ms, claim.threshold_ms, charge_micro)
    paid = due if compensated_micro is None else compensated_micro
    if paid == due == claim.compensated_micro:
        return replace(claim, charge_micro=charge_micro)
    return replace(
        claim,
        status=PAID if paid else NOT_TRIGGERED,
        reason=claim.reason if paid else DAILY_CAP_REACHED,
        charge_micro=charge_micro,
        compensated_micro=paid,
        is_capped=paid < due,
    )
