"""The one table of errors: code, documentation and tests read it here.

GatewayError                 anything a caller is told; carries a code of the table
├─ gateway.guard.*           the body was too large, too slow, in an unknown encoding
├─ dialects.InvalidRequest   the body is not a request of this dialect, or names a refused field
├─ keys.KeyRefused           no such key, suspended, expired, wrong model, wrong address
├─ governor.Shed             a rate, a full queue, an open circuit
├─ ledger.HoldRefused        credits, limits, budgets
└─ upstreams.UpstreamFailed  the provider failed, was busy, or refused the request
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """How one code looks on the wire, in both families of dialects."""

    status: int
    openai_type: str
    anthropic_type: str
    anthropic_status: int | None = None
    """Where Anthropic's own status differs (529 for overload)."""
    should_retry: bool | None = None
    """False becomes `x-should-retry: false`: SDKs otherwise repeat what cannot succeed."""
    default_retry_after_s: int | None = None


def _invalid(status: int, anthropic_type: str = "invalid_request_error") -> ErrorKind:
    return ErrorKind(status, "invalid_request_error", anthropic_type)


_AUTH: Final = ErrorKind(401, "invalid_request_error", "authentication_error", should_retry=False)
_UNPAID: Final = ErrorKind(402, "insufficient_quota", "billing_error", should_retry=False)
_FORBIDDEN: Final = ErrorKind(403, "permission_error", "permission_error", should_retry=False)
_NOT_FOUND: Final = ErrorKind(404, "invalid_request_error", "not_found_error")
_RATE: Final = ErrorKind(429, "requests", "rate_limit_error", default_retry_after_s=1)
_RATE_TOKENS: Final = ErrorKind(429, "tokens", "rate_limit_error", default_retry_after_s=1)
_OVERLOADED: Final = ErrorKind(503, "server_error", "overloaded_error", anthropic_status=529, default_retry_after_s=1)

ERRORS: Final[dict[str, ErrorKind]] = {
    "invalid_request": _invalid(400),
    "unsupported_field": _invalid(400),
    "context_length_exceeded": _invalid(400),
    "invalid_api_key": _AUTH,
    "insufficient_credits": _UNPAID,
    "key_limit_exhausted": _UNPAID,
    "key_budget_exhausted": _UNPAID,
    "key_model_limit_exhausted": _UNPAID,
    "account_budget_exhausted": _UNPAID,
    "key_suspended": _FORBIDDEN,
    "key_expired": _FORBIDDEN,
    "model_not_allowed": _FORBIDDEN,
    "ip_not_allowed": _FORBIDDEN,
    "cli_only_model": _FORBIDDEN,
    "account_frozen": _FORBIDDEN,
    "model_not_found": _NOT_FOUND,
    "not_found": _NOT_FOUND,
    "method_not_allowed": _invalid(405),
    "request_timeout": ErrorKind(408, "invalid_request_error", "timeout_error"),
    "idempotency_in_progress": ErrorKind(409, "invalid_request_error", "conflict_error", default_retry_after_s=1),
    "body_too_large": _invalid(413, "request_too_large"),
    "unsupported_encoding": _invalid(415),
    "idempotency_mismatch": _invalid(422),
    "websocket_unsupported": _invalid(426),
    "account_rpm": _RATE,
    "key_rpm": _RATE,
    "key_model_rpm": _RATE,
    "model_rpm": _RATE,
    "model_tpm": _RATE_TOKENS,
    "model_ipm": _RATE,
    "credits_reserved": _RATE,
    "queue_full": _OVERLOADED,
    "queue_timeout": _OVERLOADED,
    "circuit_open": _OVERLOADED,
    "upstream_overloaded": _OVERLOADED,
    "store_unavailable": ErrorKind(503, "server_error", "api_error", default_retry_after_s=2),
    "upstream_error": ErrorKind(502, "server_error", "api_error"),
    "upstream_timeout": ErrorKind(504, "server_error", "timeout_error"),
    "internal_error": ErrorKind(500, "server_error", "api_error"),
}


@dataclass(frozen=True, slots=True)
class LimitFacts:
    """Which limit refused a call: goes out as `error.hypereal`. Amounts of money are microcredits."""

    limit: str
    value: int
    used: int
    resets_at: datetime | None = None
    is_money: bool = False
    needed: int | None = None
    available: int | None = None
    max_tokens: int | None = None
    """With 402: the largest `max_tokens` that would fit now."""


class GatewayError(Exception):
    """Something to tell the caller, in the shape of the dialect called.

    `status` overrides the table's for an upstream's own 400, 413 or 422 that is handed on.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
        facts: LimitFacts | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.kind = ERRORS[code]
        self.message = message
        self.param = param
        self.retry_after_s = self.kind.default_retry_after_s if retry_after_s is None else retry_after_s
        self.facts = facts
        self.status = status if status is not None else self.kind.status

    def status_for(self, *, anthropic: bool) -> int:
        if anthropic and self.kind.anthropic_status is not None:
            return self.kind.anthropic_status
        return self.status


def rfc3339(moment: datetime) -> str:
    """`2026-11-22T15:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def turning_at(moment: datetime) -> str:
    """The same of when a limit turns, rounded up: whoever comes back then is not early."""
    return rfc3339(moment + timedelta(microseconds=999_999))
