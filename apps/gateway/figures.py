"""The governor's figures in a reply's head: ours, and the rate-limit family of the dialect called.

They are those of the moment in which the call was admitted or shed. `docs/headers.md` lists all headers.
"""

from __future__ import annotations

from typing import Final

from apps.catalog.rules import Capacity
from apps.core import clock, headers
from apps.core.errors import GatewayError, LimitFacts
from apps.dialects.rate_limits import Header, rate_headers
from apps.gateway.call import Call
from apps.governor.store.protocol import Admission, Governor, Shed

FULL: Final = frozenset({"concurrency", "queue_length", "queue_tokens", "account_queue_length", "account_queue_tokens"})
"""Limits that refuse a call only where every slot is taken."""


def governor_headers(admission: Admission, governor: Governor, *, route_key: str, anthropic: bool) -> list[Header]:
    """The figures of an admitted call."""
    capacity = admission.ask.capacity
    shown: list[Header] = [
        (headers.GOVERNOR, governor.mode.encode()),
        (headers.MODEL_CONCURRENCY_LIMIT, b"%d" % capacity.concurrency),
        (headers.MODEL_CONCURRENCY_REMAINING, b"%d" % admission.concurrency_remaining),
        (headers.MODEL_RPM_LIMIT, b"%d" % capacity.rpm),
        (headers.MODEL_RPM_REMAINING, b"%d" % admission.rpm_remaining),
        (headers.CAPACITY_REQUESTS_REMAINING, b"%d" % admission.account_remaining),
        (headers.CIRCUIT, governor.circuit(route_key).encode()),
    ]
    if capacity.ipm is not None and admission.ipm_remaining is not None:
        shown.append((headers.IMAGE_IPM_LIMIT, b"%d" % capacity.ipm))
        shown.append((headers.IMAGE_IPM_REMAINING, b"%d" % admission.ipm_remaining))
    now = clock.now()
    for minute, is_tokens in ((admission.requests, False), (admission.tokens, True)):
        shown += rate_headers(
            limit=minute.limit,
            remaining=minute.remaining,
            resets_at=minute.resets_at,
            now=now,
            is_tokens=is_tokens,
            anthropic=anthropic,
        )
    return shown


def refusal_headers(call: Call, error: GatewayError, governor: Governor) -> list[Header]:
    """What is known of the governor's figures where a call is refused: all of them once it was admitted; of one that
    was shed its model's limits, and what is left of the one that shed it. Nothing before anybody asked."""
    if call.admission is not None:
        return governor_headers(call.admission, governor, route_key=call.route_key, anthropic=call.is_anthropic)
    if not isinstance(error, Shed):
        return []
    shown: list[Header] = [(headers.GOVERNOR, governor.mode.encode())]
    if call.capacity is not None:
        shown += _limits(call.capacity)
        shown.append((headers.CIRCUIT, governor.circuit(call.route_key).encode()))
    return shown if error.facts is None else shown + _left(error.facts)


def _limits(capacity: Capacity) -> list[Header]:
    shown: list[Header] = [
        (headers.MODEL_CONCURRENCY_LIMIT, b"%d" % capacity.concurrency),
        (headers.MODEL_RPM_LIMIT, b"%d" % capacity.rpm),
    ]
    if capacity.ipm is not None:
        shown.append((headers.IMAGE_IPM_LIMIT, b"%d" % capacity.ipm))
    return shown


def _left(facts: LimitFacts) -> list[Header]:
    """What the limit that refused a call leaves."""
    left = b"%d" % max(0, facts.value - facts.used)
    match facts.limit:
        case "account_rpm":
            return [(headers.CAPACITY_REQUESTS_REMAINING, left)]
        case "model_rpm":
            return [(headers.MODEL_RPM_REMAINING, left)]
        case "model_ipm":
            return [(headers.IMAGE_IPM_REMAINING, left)]
    return [(headers.MODEL_CONCURRENCY_REMAINING, b"0")] if facts.limit in FULL else []
