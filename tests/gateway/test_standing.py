"""What refused a key a moment ago refuses it still, for exactly as long as that is certain."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from apps.accounts.cache import AccountSnapshot
from apps.core import clock
from apps.core.errors import GatewayError, LimitFacts
from apps.gateway import standing
from apps.gateway.call import Call
from apps.gateway.standing import Standing
from apps.governor.store import refusals
from apps.governor.store.protocol import Shed
from apps.keys.rules import KeySnapshot
from apps.ledger.operations import HoldRefused
from tests.gateway.rig import KEY, head

START = datetime(2026, 11, 27, 12, tzinfo=UTC)
ACCOUNT = AccountSnapshot(uuid.UUID(int=2), "alice", is_frozen=False, rpm_limit=10, daily_budget_micro=None)


class Time:
    """Both clocks, moved by the test."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def monotonic(self) -> float:
        return 1_000 + self.passed_s

    def now(self) -> datetime:
        return START + timedelta(seconds=self.passed_s)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(clock, "monotonic", time.monotonic)
    monkeypatch.setattr(clock, "now", time.now)
    return time


def rate(code: str, *, wait_s: float, asked: int = 1) -> Shed:
    return refusals.rate_exceeded(code, model_id="m", asked=asked, value=3, used=3, wait_s=wait_s, now=START)


def budget(*, resets_in_s: float | None = None) -> HoldRefused:
    resets_at = None if resets_in_s is None else START + timedelta(seconds=resets_in_s)
    facts = LimitFacts("key_budget_exhausted", 100, 90, resets_at=resets_at, is_money=True, needed=20, available=10)
    return HoldRefused("key_budget_exhausted", "Too little is left.", facts=facts)


def refused(
    known: Standing,
    body: bytes = b"again",
    *,
    key: KeySnapshot = KEY,
    account: AccountSnapshot | None = ACCOUNT,
    call: Call | None = None,
) -> GatewayError | None:
    return known.find(call or head(), body, key, account)


def noted(error: GatewayError, **headers: str) -> Standing:
    """A refusal that was met as often as a loop meets it."""
    known = Standing()
    for _ in range(standing.LOOPING):
        known.note(head(**headers), b"again", KEY, ACCOUNT, error)
    return known


@pytest.mark.parametrize("code", ["account_rpm", "key_rpm"])
def test_a_rate_refuses_whatever_comes_next(time: Time, code: str) -> None:
    known = noted(rate(code, wait_s=30))
    time.passed_s = 0.9
    error = refused(known, b"something else")
    assert isinstance(error, Shed)
    assert (error.code, error.retry_after_s) == (code, 30)
    assert error.facts is not None
    assert error.facts.resets_at == START + timedelta(seconds=30)
    time.passed_s = 1.0
    assert refused(known) is None


def test_a_rate_stands_no_longer_than_its_window(time: Time) -> None:
    known = noted(rate("key_rpm", wait_s=0.4))
    time.passed_s = 0.39
    assert refused(known) is not None
    time.passed_s = 0.4
    assert refused(known) is None


@pytest.mark.parametrize(
    "error",
    [
        rate("model_rpm", wait_s=30),
        rate("key_model_rpm", wait_s=30),
        HoldRefused("credits_reserved", "Wait.", facts=budget().facts),
        HoldRefused("key_suspended", "Stopped."),
        GatewayError("invalid_request", "No."),
    ],
    ids=lambda error: error.code,
)
def test_what_may_be_over_at_any_moment_or_is_of_this_call_alone_does_not_stand(
    time: Time, error: GatewayError
) -> None:
    assert refused(noted(error)) is None


def test_a_budget_refuses_the_same_request_with_the_same_words(time: Time) -> None:
    first = budget()
    known = noted(first)
    time.passed_s = standing.MONEY_STANDS_S - 0.1
    again = refused(known)
    assert isinstance(again, HoldRefused)
    assert (again.code, again.message, again.facts) == (first.code, first.message, first.facts)
    assert again is not first
    assert refused(known, b"a smaller one") is None
    assert refused(known, call=head("/v1/responses")) is None
    assert refused(known, call=head(x_hypereal_strict_max_tokens="true")) is None
    time.passed_s = standing.MONEY_STANDS_S
    assert refused(known) is None


def test_who_tries_again_after_adding_credits_is_not_refused_unasked(time: Time) -> None:
    known = Standing()
    for _ in range(standing.LOOPING - 1):
        known.note(head(), b"again", KEY, ACCOUNT, budget())
        assert refused(known) is None
    known.note(head(), b"something else", KEY, ACCOUNT, budget())
    known.note(head(), b"again", KEY, ACCOUNT, budget())
    assert refused(known) is None, "they were not of the same request in a row"


def test_a_named_repeat_is_a_call_of_its_own(time: Time) -> None:
    assert refused(noted(budget()), call=head(idempotency_key="one")) is None
    assert refused(noted(budget(), idempotency_key="one"), call=head(idempotency_key="one")) is not None


def test_a_budget_stands_no_longer_than_its_window(time: Time) -> None:
    known = noted(budget(resets_in_s=2))
    time.passed_s = 1.9
    assert refused(known) is not None
    time.passed_s = 2.0
    assert refused(known) is None


def test_whatever_changes_about_key_or_account_ends_it(time: Time) -> None:
    for changed in ({"key": replace(KEY, rpm_limit=5)}, {"account": replace(ACCOUNT)}, {"account": None}):
        known = noted(budget())
        assert refused(known, **changed) is None
        assert refused(known) is None, "the old snapshot does not come back"


def test_memory_is_bounded(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "MAX_KEYS", 2)
    known = Standing()
    keys = [replace(KEY, key_id=uuid.UUID(int=number)) for number in range(3)]
    for key in keys:
        for _ in range(standing.LOOPING):
            known.note(head(), b"again", key, ACCOUNT, budget())
    assert [refused(known, key=key) is not None for key in keys] == [False, True, True]
