"""Admission to a model path: rates, slots, a short queue, a circuit. Knows nothing of money."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from apps.catalog.rules import Capacity
from apps.core.errors import GatewayError, LimitFacts


class Shed(GatewayError):
    """Not admitted (429 or 503). Shed is not failed: nothing was called, nothing counts towards a rate."""

    def __init__(self, code: str, message: str, *, facts: LimitFacts, retry_after_s: int) -> None:
        super().__init__(code, message, facts=facts, retry_after_s=retry_after_s)


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


@dataclass(frozen=True, slots=True)
class Minute:
    """What one limit per minute leaves, for the rate-limit headers of a dialect."""

    limit: int
    remaining: int
    resets_at: datetime
    """When the oldest call that it counts leaves the window: from then on there is more."""


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
    requests: Minute
    """The request limit that leaves least: of the account, the key, the key on this model, or the model."""
    tokens: Minute
    """The model's tokens."""
    queue_ms: int = 0
    counted_at: float = 0.0
    """When the store's clock counted the call: what is given back is taken from there."""
    is_finished: bool = False
    call_id: str = ""
    """What a shared store knows the call by."""


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """One model's load as telemetry shows it. `admitted` (slots given) and `shed` (by error code) only grow."""

    concurrency: int
    in_flight: int
    queued: int
    queued_tokens: int
    requests_in_minute: int
    tokens_in_minute: int
    images_in_minute: int
    admitted: int
    shed: Mapping[str, int]


class Governor(Protocol):
    @property
    def mode(self) -> str:
        """`active`, or `degraded` where a shared store is away: shown in X-Hypereal-Managed-Governor."""

    @property
    def is_shared(self) -> bool:
        """Whether `figures` is at present of all processes, or of this one alone."""

    async def admit(self, ask: Ask, *, gone: Awaitable[object] | None = None) -> Admission:
        """Order: account RPM, key RPM, key and model RPM, model RPM/TPM/IPM, slot; else the queue.

        `gone` completes when the caller hung up: a waiting call then leaves the queue. A future or a task, not a bare
        coroutine: it is looked at only where the call must wait. Raises: Shed; CallerGone.
        """

    def finish(self, admission: Admission, *, tokens: int | None) -> None:
        """Give the slot back, at most once, never blocking; `tokens` corrects the estimate.

        None: nothing was used, so tokens and images are given back. The request itself stays counted.
        """

    def circuit(self, route: str) -> str:
        """`closed`, `open` or `half_open`."""

    async def may_call(self, route: str) -> bool:
        """Whether a call may go to this route now; a half-open one lets a single probe through.

        True on a half-open route makes the asker the probe: ask last, for the one route about to be called, and
        report. To compare routes, read `circuit`.
        """

    def report(self, route: str, *, ok: bool, began_at: float | None = None) -> None:
        """Tell how a call on this route ended. The caller's own errors (4xx) are not reported as failures.

        `began_at` (monotonic seconds): a call from before the circuit last opened is then not taken for the probe.
        """

    async def figures(self) -> dict[str, ModelFigures]:
        """Load by model id, of every model that this process called since its start.

        `admitted` and `shed` are this process's own, the rest is of all who share the store.
        """


class CallerGone(Exception):
    """The caller hung up while it waited; nobody is left to be told."""
