"""Every refusal of a limit, in both families of dialects: its exact head and body. `docs/headers.md` tells callers."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.catalog.rules import Capacity
from apps.core import clock
from apps.core.errors import ERRORS, GatewayError, LimitFacts
from apps.gateway.figures import refusal_headers
from apps.gateway.respond import send_error
from apps.governor.rules import NoPlace
from apps.governor.store import refusals
from apps.governor.store.memory import MemoryGovernor
from apps.governor.store.protocol import Admission, Ask, Minute
from apps.keys.rules import KeyRefused
from apps.ledger.committer import LedgerUnavailable
from apps.ledger.operations import Hold, HoldRefused
from apps.ledger.refusals import refusal
from apps.upstreams.rules import UpstreamFailed
from tests.gateway.rig import Caller, head

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
EVENING = datetime(2026, 11, 23, tzinfo=UTC)
MODEL = "gpt-image-2"
CAPACITY = Capacity(concurrency=80, rpm=15_000, tpm=8_000_000, ipm=250, queue_s=5, queue_length=64, queue_tokens=10**9)
ASK = Ask(
    account_id=uuid.UUID(int=1),
    key_id=uuid.UUID(int=2),
    model_id=MODEL,
    capacity=CAPACITY,
    account_rpm=10_000,
    key_rpm=60,
    key_model_rpm=None,
    tokens=100,
    images=1,
)
ADMISSION = Admission(
    ASK,
    concurrency_remaining=79,
    rpm_remaining=14_999,
    tpm_remaining=7_999_900,
    ipm_remaining=249,
    account_remaining=9_852,
    resets_at=NOON + timedelta(seconds=60),
    requests=Minute(60, 59, NOON + timedelta(seconds=59.2)),
    tokens=Minute(8_000_000, 7_999_900, NOON + timedelta(seconds=12)),
)

FIGURES = {
    "x-hypereal-managed-governor": "active",
    "x-hypereal-managed-model-concurrency-limit": "80",
    "x-hypereal-managed-model-concurrency-remaining": "79",
    "x-hypereal-managed-model-rpm-limit": "15000",
    "x-hypereal-managed-model-rpm-remaining": "14999",
    "x-hypereal-capacity-requests-remaining": "9852",
    "x-hypereal-managed-image-ipm-limit": "250",
    "x-hypereal-managed-image-ipm-remaining": "249",
    "x-hypereal-managed-circuit": "closed",
}
OPENAI = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-reset-requests": "1m0s",
    "x-ratelimit-limit-tokens": "8000000",
    "x-ratelimit-remaining-tokens": "7999900",
    "x-ratelimit-reset-tokens": "12s",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "60",
    "anthropic-ratelimit-requests-remaining": "59",
    "anthropic-ratelimit-requests-reset": "2026-11-22T12:01:00Z",
    **{
        f"anthropic-ratelimit-{kind}-{name}": value
        for kind in ("tokens", "input-tokens", "output-tokens")
        for name, value in {"limit": "8000000", "remaining": "7999900", "reset": "2026-11-22T12:00:12Z"}.items()
    },
}
LIMITS = {
    "x-hypereal-managed-governor": "active",
    "x-hypereal-managed-model-concurrency-limit": "80",
    "x-hypereal-managed-model-rpm-limit": "15000",
    "x-hypereal-managed-image-ipm-limit": "250",
    "x-hypereal-managed-circuit": "closed",
}


@dataclass(frozen=True)
class Row:
    """What one refusal looks like. `status` is OpenAI's, then Anthropic's."""

    error: GatewayError
    status: tuple[int, int]
    types: tuple[str, str]
    extra: dict[str, str]
    """Headers of every dialect, beside the figures."""
    hypereal: dict[str, Any] | None = None
    openai: dict[str, str] | None = None
    anthropic: dict[str, str] | None = None
    is_admitted: bool = False
    is_shed: bool = False


def unpaid(code: str, *, resets_at: datetime | None = None) -> Row:
    asked = Hold(
        request_id=uuid.UUID(int=3),
        account_id=ASK.account_id,
        key_id=ASK.key_id,
        model_id=MODEL,
        process_id=uuid.UUID(int=4),
        wanted_micro=20_000_000,
        least_micro=12_500_000,
        guards=(),
    )
    shown = None if resets_at is None else "2026-11-23T00:00:00Z"
    return Row(
        refusal(code, asked, 10_000_000, 4_000_000, resets_at, 6_000_000),
        (402, 402),
        ("insufficient_quota", "billing_error"),
        {"x-should-retry": "false"} | ({} if shown is None else {"x-hypereal-limit-reset": shown}),
        {"limit": code, "value": 10, "used": 4, "resets_at": shown, "needed": 12.5, "available": 6},
        is_admitted=True,
    )


def forbidden(code: str) -> Row:
    error = KeyRefused(code, "No.")
    return Row(error, (403, 403), ("permission_error", "permission_error"), {"x-should-retry": "false"})


def rate(code: str, extra: dict[str, str]) -> Row:
    error = refusals.rate_exceeded(code, model_id=MODEL, asked=1, value=3, used=3, wait_s=29.2, now=NOON)
    what = "tokens" if code == "model_tpm" else "requests"
    figures = {"limit": "3", "remaining": "0", "reset": "2026-11-22T12:00:30Z"}
    kinds = ("tokens", "input-tokens", "output-tokens") if what == "tokens" else ("requests",)
    return Row(
        error,
        (429, 429),
        (what, "rate_limit_error"),
        {"retry-after": "30", **extra},
        {"limit": code, "value": 3, "used": 3, "resets_at": "2026-11-22T12:00:30Z"},
        {f"x-ratelimit-limit-{what}": "3", f"x-ratelimit-remaining-{what}": "0", f"x-ratelimit-reset-{what}": "30s"},
        {f"anthropic-ratelimit-{kind}-{name}": value for kind in kinds for name, value in figures.items()},
        is_shed=True,
    )


def overloaded(error: GatewayError, extra: dict[str, str], **more: Any) -> Row:
    return Row(error, (503, 529), ("server_error", "overloaded_error"), extra, **more)


NO_SLOT = {"x-hypereal-managed-model-concurrency-remaining": "0"}
TABLE = {
    "insufficient_credits": unpaid("insufficient_credits"),
    "key_limit_exhausted": unpaid("key_limit_exhausted"),
    "key_budget_exhausted": unpaid("key_budget_exhausted", resets_at=EVENING),
    "key_model_limit_exhausted": unpaid("key_model_limit_exhausted"),
    "account_budget_exhausted": unpaid("account_budget_exhausted", resets_at=EVENING),
    "key_suspended": forbidden("key_suspended"),
    "key_expired": forbidden("key_expired"),
    "model_not_allowed": forbidden("model_not_allowed"),
    "ip_not_allowed": forbidden("ip_not_allowed"),
    "cli_only_model": forbidden("cli_only_model"),
    "account_frozen": forbidden("account_frozen"),
    "account_rpm": rate("account_rpm", {"x-hypereal-capacity-requests-remaining": "0"}),
    "key_rpm": rate("key_rpm", {}),
    "key_model_rpm": rate("key_model_rpm", {}),
    "model_rpm": rate("model_rpm", {"x-hypereal-managed-model-rpm-remaining": "0"}),
    "model_tpm": rate("model_tpm", {}),
    "model_ipm": rate("model_ipm", {"x-hypereal-managed-image-ipm-remaining": "0"}),
    "credits_reserved": Row(
        HoldRefused(
            "credits_reserved",
            "Wait.",
            facts=LimitFacts("credits_reserved", 10_000_000, 9_000_000, is_money=True),
        ),
        (429, 429),
        ("requests", "rate_limit_error"),
        {"retry-after": "1"},
        {"limit": "credits_reserved", "value": 10, "used": 9, "resets_at": None},
        is_admitted=True,
    ),
    "queue_full": overloaded(
        refusals.queue_full(NoPlace("queue_length", 64, 64), model_id=MODEL, wait_s=2.5, now=NOON),
        {"retry-after": "3", **NO_SLOT},
        hypereal={"limit": "queue_length", "value": 64, "used": 64, "resets_at": "2026-11-22T12:00:03Z"},
        is_shed=True,
    ),
    "queue_timeout": overloaded(
        refusals.queue_timeout(ASK, in_flight=80),
        {"retry-after": "5", **NO_SLOT},
        hypereal={"limit": "concurrency", "value": 80, "used": 80, "resets_at": None},
        is_shed=True,
    ),
    "circuit_open": overloaded(
        UpstreamFailed("circuit_open", "Open.", retry_after_s=5), {"retry-after": "5"}, is_admitted=True
    ),
    "upstream_overloaded": overloaded(
        UpstreamFailed("upstream_overloaded", "Busy.", retry_after_s=7), {"retry-after": "7"}, is_admitted=True
    ),
    "store_unavailable": Row(
        LedgerUnavailable(), (503, 503), ("server_error", "api_error"), {"retry-after": "2"}, is_admitted=True
    ),
}


def test_every_refusal_of_these_statuses_is_in_the_table() -> None:
    assert {code for code, kind in ERRORS.items() if kind.status in {402, 403, 429, 503}} == set(TABLE)


@pytest.mark.parametrize("anthropic", [False, True], ids=["openai", "anthropic"])
@pytest.mark.parametrize("code", TABLE)
async def test_a_refusal_has_exactly_this_head_and_body(
    monkeypatch: pytest.MonkeyPatch, code: str, anthropic: bool
) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOON)
    row, call, caller = TABLE[code], head(), Caller()
    call.is_anthropic = anthropic
    if row.is_admitted or row.is_shed:
        call.capacity, call.route_key = CAPACITY, "route"
    if row.is_admitted:
        call.admission = ADMISSION
    await send_error(caller.send, call, row.error, extra=refusal_headers(call, row.error, MemoryGovernor()))
    shown = [(name.decode(), value.decode()) for name, value in caller.sent[0]["headers"]]
    expected = {
        "content-type": "application/json",
        "content-length": str(len(caller.body)),
        "x-request-id": call.request_name,
        "request-id": call.request_name,
        **(FIGURES | (ANTHROPIC if anthropic else OPENAI) if row.is_admitted else LIMITS if row.is_shed else {}),
        **row.extra,
        **((row.anthropic if anthropic else row.openai) or {}),
    }
    assert dict(shown) == expected
    assert len(shown) == len(expected)  # none comes twice
    assert (caller.status, row.error.code) == (row.status[anthropic], code)
    inner: dict[str, Any] = {"message": row.error.message, "code": code, "type": row.types[anthropic]}
    if row.hypereal is not None:
        inner["hypereal"] = row.hypereal
    body: dict[str, Any] = {"error": inner}
    if anthropic:
        body |= {"type": "error", "request_id": call.request_name}
    else:
        inner["param"] = None
    assert json.loads(caller.body) == body
