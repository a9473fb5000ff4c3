"""What is compensated, with how much, and what is said of it: decided from a policy and a call, nothing else."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.catalog.rules import InsurancePolicy
from apps.insurance import rules
from apps.insurance.rules import (
    DAILY_CAP_REACHED,
    LATENCY_THRESHOLD_EXCEEDED,
    NOT_TRIGGERED,
    PAID,
    TRIGGERS,
    Claim,
    Served,
    assess,
    conclude,
    threshold_of,
)

POLICY = InsurancePolicy(uuid.UUID(int=1), threshold_ms=90_000, percent=25, ms_per_output_token=25)
CREDIT = 1_000_000


def served(**facts: Any) -> Served:
    defaults = {"latency_ms": 94_320, "output_tokens": 300, "is_stream": False, "charge_micro": 12 * CREDIT}
    return Served(**{**defaults, **facts})


def test_the_documents_call_is_paid_three_credits_of_twelve() -> None:
    assert assess(POLICY, served()) == Claim(
        status=PAID,
        latency_ms=94_320,
        threshold_ms=90_000,
        charge_micro=12 * CREDIT,
        trigger="latency",
        reason="latency_threshold_exceeded",
        percent=25,
        compensated_micro=3 * CREDIT,
    )


@pytest.mark.parametrize(("latency_ms", "status"), [(0, NOT_TRIGGERED), (90_000, NOT_TRIGGERED), (90_001, PAID)])
def test_a_call_is_slow_beyond_its_threshold_and_not_at_it(latency_ms: int, status: str) -> None:
    assert assess(POLICY, served(latency_ms=latency_ms)).status == status


def test_a_stream_may_take_longer_for_every_token_and_a_plain_call_may_not() -> None:
    assert threshold_of(POLICY, output_tokens=200, is_stream=True) == 95_000
    assert threshold_of(POLICY, output_tokens=200, is_stream=False) == 90_000
    assert assess(POLICY, served(is_stream=True, output_tokens=172)).status == PAID
    assert assess(POLICY, served(is_stream=True, output_tokens=173)) == Claim(
        NOT_TRIGGERED, 94_320, 94_325, 12 * CREDIT
    )


@pytest.mark.parametrize(
    "facts",
    [
        {"is_succeeded": False},
        {"is_estimated": True},
        {"charge_micro": 0},
        {"charge_micro": 3},
    ],
    ids=["abandoned", "estimated", "free", "of which a quarter is less than a microcredit"],
)
def test_calls_that_are_never_compensated(facts: dict[str, Any]) -> None:
    charge = facts.get("charge_micro", 12 * CREDIT)
    assert assess(POLICY, served(**facts)) == Claim(NOT_TRIGGERED, 94_320, 90_000, charge)


@given(
    latency_ms=st.integers(0, 10**7),
    tokens=st.integers(0, 10**6),
    charge=st.integers(0, 2**53 - 1),
    percent=st.integers(1, 100),
    is_stream=st.booleans(),
)
def test_a_payout_is_never_more_than_its_percentage_nor_a_microcredit_less(
    latency_ms: int, tokens: int, charge: int, percent: int, is_stream: bool
) -> None:
    policy = InsurancePolicy(uuid.UUID(int=1), 90_000, percent, 25)
    claim = assess(policy, Served(latency_ms, tokens, is_stream, charge))
    assert 0 <= claim.compensated_micro <= charge
    if claim.status == PAID:
        assert latency_ms > claim.threshold_ms
        assert charge * percent - 100 < claim.compensated_micro * 100 <= charge * percent
    else:
        assert claim.compensated_micro == claim.percent == 0


def test_what_was_paid_as_due_stays_as_it_was_assessed() -> None:
    claim = assess(POLICY, served())
    assert conclude(claim, charge_micro=12 * CREDIT, compensated_micro=3 * CREDIT) == claim
    assert conclude(claim, charge_micro=12 * CREDIT, compensated_micro=None) == claim


def test_a_smaller_charge_is_compensated_less() -> None:
    concluded = conclude(assess(POLICY, served()), charge_micro=8 * CREDIT, compensated_micro=2 * CREDIT)
    assert (concluded.status, concluded.charge_micro, concluded.compensated_micro, concluded.is_capped) == (
        PAID, 8 * CREDIT, 2 * CREDIT, False,
    )  # fmt: skip
    nothing = conclude(assess(POLICY, served()), charge_micro=0, compensated_micro=0)
    assert nothing == Claim(NOT_TRIGGERED, 94_320, 90_000, 0)


def test_what_the_days_cap_keeps_back_is_said() -> None:
    claim = assess(POLICY, served())
    part = conclude(claim, charge_micro=12 * CREDIT, compensated_micro=CREDIT)
    assert (part.status, part.reason, part.compensated_micro, part.is_capped) == (
        PAID, LATENCY_THRESHOLD_EXCEEDED, CREDIT, True,
    )  # fmt: skip
    nothing = conclude(claim, charge_micro=12 * CREDIT, compensated_micro=0)
    assert (nothing.status, nothing.trigger, nothing.reason, nothing.is_capped) == (
        NOT_TRIGGERED, "latency", DAILY_CAP_REACHED, True,
    )  # fmt: skip


def test_another_trigger_is_one_function_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    more = {**TRIGGERS, "silence": lambda call, threshold_ms: "" if call.output_tokens else "no_output"}
    monkeypatch.setattr(rules, "TRIGGERS", more)
    claim = assess(POLICY, served(latency_ms=1, output_tokens=0))
    assert (claim.status, claim.trigger, claim.reason, claim.compensated_micro) == (
        PAID, "silence", "no_output", 3 * CREDIT,
    )  # fmt: skip
    assert assess(POLICY, served(output_tokens=0)).trigger == "latency"
