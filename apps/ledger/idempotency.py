"""Repeats that a caller names: what is asked with a hold, what is known of the call that a key belongs to. Values."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from apps.core.tokens import TokenUsage

KEPT_S = 24 * 60 * 60
"""How long a key stays the call's that used it first, by the store's clock."""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """What a call calls itself and its repeats: keyed digests, in hexadecimal, of which nothing can be read back."""

    key: str
    """Of its Idempotency-Key."""
    body: str
    """Of its endpoint and body: the same key with another body is a mistake."""


@dataclass(frozen=True, slots=True)
class PastCall:
    """A call that was billed, as far as its repeats are told of it."""

    request_id: uuid.UUID
    model_id: str
    is_stream: bool
    received_at: datetime
    usage: TokenUsage
    is_estimated: bool
    charge_micro: int
    absorbed_micro: int
    balances_micro: tuple[int, int] | None
    """Before and after the charge; None where there was nothing to charge."""
    reply: bytes | None
    """What it was answered, where its account keeps replies."""
    latency_ms: int = 0
    threshold_ms: int | None = None
    claim: str = ""
    """What became of its insurance, as its usage record says."""
    claim_trigger: str = ""
    compensated_micro: int = 0


@dataclass(frozen=True, slots=True)
class KnownCall:
    """The call that a key belongs to. Neither running nor past: it failed, and its key is free for the same body."""

    request_id: uuid.UUID
    body: str
    is_running: bool = False
    past: PastCall | None = None


KnownKey = tuple[uuid.UUID, str]
"""account, digest of the key"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A row of `ledger_idempotencykey`: from now on the key belongs to this call."""

    account_id: uuid.UUID
    key_digest: str
    body_digest: str
    request_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class KeptReply:
    account_id: uuid.UUID
    request_id: uuid.UUID
    reply: bytes


class AlreadyServed(Exception):
    """A repeat: the call was made and billed before, under the same key. Nothing is held, nothing will be charged."""

    def __init__(self, past: PastCall) -> None:
        super().__init__(f"served before as {past.request_id}")
        self.past = past
