"""Admission to a model path: rates, slots, a short queue, a circuit. Knows nothing of money."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from apps.core.errors import GatewayError, LimitFacts


class Shed(GatewayError):
    """Not admitted (429 or 503). Shed is not failed: nothing was called, nothing counts towards a rate."""

    def __init__(self, code: str, message: str, *, facts: LimitFacts, retry_after_s: int) -> None:
        super().__init__(code, message, facts=facts, retry_after_s=retry_after_s)


@dataclass(frozen=True, slots=True)
class Capacity:
    """One model's policy, as the governor needs it (see catalog's Policy)."""

    concurrency: int
    rpm: int
    tpm: int
    ipm: int | None
    queue_s: int
    queue_length: int
    queue_tokens: int


@dataclass(frozen=True, slots=True)
class Ask:
    """One call at the door. `tokens` is an estimate: input bound + expected output."""

    account_id: uuid.UUID
    key_id: uuid.UUID
    model_id: str
    capacity: Capacity
    account_rpm: int
    key_rpm: int | None
    key_model_rpm: int | None
    tokens: int
    images: int = 0


@dataclass(slots=True)
class Admission:
    """A slot, and the true figures at the moment it was given, for the headers. Must be given back with `finish`."""

    ask: Ask
    concurrency_remaining: int
    rpm_remaining: int
    tpm_remaining: int
    ipm_remaining: int | None
    account_remaining: int
    """What the account's guard leaves in this minute."""
    resets_at: datetime
    """When the minute's oldest counted call leaves the window."""
    queue_ms: int = 0
    is_finished: bool = False


class Governor(Protocol):
    mode: str
    """`active`, or `degraded` where a shared store is away: shown in X-Hypereal-Managed-Governor."""

    async def admit(self, ask: Ask, *, gone: Awaitable[object] | None = None) -> Admission:
        """Order: account RPM, key RPM, key and model RPM, model RPM/TPM/IPM, slot; else the queue.

        `gone` completes when the caller hung up: a waiting call then leaves the queue. Raises: Shed; CallerGone.
        """

    def finish(self, admission: Admission, *, tokens: int | None) -> None:
        """Give the slot back, at most once, never blocking; `tokens` corrects the estimate (None: nothing was used)."""

    def circuit(self, route: str) -> str:
        """`closed`, `open` or `half_open`."""

    def may_call(self, route: str) -> bool:
        """Whether a call may go to this route now; a half-open one lets a single probe through."""

    def report(self, route: str, *, ok: bool) -> None:
        """Tell how a call on this route ended. The caller's own errors (4xx) are not reported as failures."""


class CallerGone(Exception):
    """The caller hung up while it waited; nobody is left to be told."""
