"""What refused a key a moment ago, and refuses it still: a client that loops costs a look-up, and no transaction.

Two kinds of refusal stand. A rate of the key or of its account stands for whatever the key sends next, until the window
turns or one second has passed. A limit, a budget or a balance stands for the very same request, from the third refusal
of it on: who adds credits and tries once more is served at once, and a loop is noticed. What is left can only shrink,
unless somebody adds credits or changes a limit, and then the snapshots that it was refused under are replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from apps.accounts.cache import AccountSnapshot
from apps.core import clock, headers
from apps.core.errors import GatewayError, LimitFacts
from apps.gateway.call import Call
from apps.governor.store import refusals
from apps.governor.store.protocol import Shed
from apps.keys.rules import KeySnapshot
from apps.ledger.operations import HoldRefused

RATES: Final = frozenset({"account_rpm", "key_rpm"})
RATE_STANDS_S: Final = 1.0
"""A call that gives its place in a queue back may make room before the window turns: no longer than this is missed."""
MONEY_STANDS_S: Final = 10.0
"""A payout of the insurance adds credits too, and tells no snapshot: no longer than this is missed."""
LOOPING: Final = 3
"""Refusals of the same request for want of money, after which it is taken for a loop."""
MAX_KEYS: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Refused:
    key: KeySnapshot
    account: AccountSnapshot | None
    error: GatewayError
    facts: LimitFacts
    fingerprint: int | None
    """Of the request; None where it stands for all of them."""
    until: float
    times: int = 1
    """Refusals of this request in a row, as far as they were asked for."""


class Standing:
    """One refusal per key: the last one."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[object, _Refused] = {}

    def find(
        self, call: Call, body: bytes, key: KeySnapshot, account: AccountSnapshot | None
    ) -> Shed | HoldRefused | None:
        """The refusal that this call would meet again. Not to be noted: it stands no longer for being met."""
        found = self._by_key.get(key.key_id)
        if found is None:
            return None
        # Snapshots are replaced when anything about them changes.
        if clock.monotonic() >= found.until or found.key is not key or found.account is not account:
            del self._by_key[key.key_id]
            return None
        if found.fingerprint is None:
            return _rate_again(found.error.code, found.facts)
        if found.times >= LOOPING and found.fingerprint == _fingerprint(call, body):
            # A fresh one: an exception that is raised again and again keeps every frame it went through.
            return HoldRefused(found.error.code, found.error.message, facts=found.facts)
        return None

    def note(
        self, call: Call, body: bytes, key: KeySnapshot, account: AccountSnapshot | None, error: GatewayError
    ) -> None:
        """Remember a refusal that stands."""
        facts = error.facts
        if facts is None:
            return
        now, wall = clock.monotonic(), clock.now()
        if isinstance(error, Shed) and error.code in RATES and facts.resets_at is not None:
            refused = _Refused(key, account, error, facts, None, now + _seconds(facts, wall, most=RATE_STANDS_S))
        elif isinstance(error, HoldRefused) and error.code != "credits_reserved":
            until = now + _seconds(facts, wall, most=MONEY_STANDS_S)
            fingerprint = _fingerprint(call, body)
            before = self._by_key.get(key.key_id)
            times = before.times + 1 if before is not None and before.fingerprint == fingerprint else 1
            refused = _Refused(key, account, error, facts, fingerprint, until, times)
        else:
            return
        if key.key_id not in self._by_key and len(self._by_key) >= MAX_KEYS:
            del self._by_key[next(iter(self._by_key))]
        self._by_key[key.key_id] = refused


def _fingerprint(call: Call, body: bytes) -> int:
    """Of everything that a hold asks for: an answer as long, under the same name. Salted anew in each process."""
    asked = (call.headers.get(headers.STRICT_MAX_TOKENS), call.headers.get(headers.IDEMPOTENCY_KEY))
    return hash((call.path, body, asked))


def _seconds(facts: LimitFacts, now: datetime, *, most: float) -> float:
    return most if facts.resets_at is None else min(most, (facts.resets_at - now).total_seconds())


def _rate_again(code: str, facts: LimitFacts) -> Shed:
    """The same refusal, with the seconds that are left by now."""
    assert facts.resets_at is not None
    now = clock.now()
    wait_s = (facts.resets_at - now).total_seconds()
    return refusals.rate_exceeded(
        code, model_id="", asked=1, value=facts.value, used=facts.used, wait_s=max(0.0, wait_s), now=now
    )
