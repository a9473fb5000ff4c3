from __future__ import annotations

from datetime import timedelta

import pytest

from apps.core.errors import LimitFacts
from apps.governor.rules import NoPlace
from apps.governor.store import refusals
from tests.governor.rig import NOON, ask


@pytest.mark.parametrize(
    ("code", "who"),
    [
        ("account_rpm", "This account is limited to 10 requests"),
        ("key_rpm", "This key is limited to 10 requests"),
        ("key_model_rpm", "This key on gpt-5-5 is limited to 10 requests"),
        ("model_rpm", "gpt-5-5 is limited to 10 requests"),
        ("model_tpm", "gpt-5-5 is limited to 10 tokens"),
        ("model_ipm", "gpt-5-5 is limited to 10 images"),
    ],
)
def test_a_rate_names_whose_it_is(code: str, who: str) -> None:
    shed = refusals.rate_exceeded(code, model_id="gpt-5-5", asked=4, value=10, used=7, wait_s=11.25, now=NOON)
    assert shed.message == f"{who} per minute: 7 are counted, this call needs 4. Retry in 12 s."
    assert (shed.code, shed.status, shed.retry_after_s) == (code, 429, 12)
    assert shed.facts == LimitFacts(limit=code, value=10, used=7, resets_at=NOON + timedelta(seconds=11.25))


@pytest.mark.parametrize(
    ("no_place", "message"),
    [
        (NoPlace("concurrency", 80, 80), "all 80 slots of gpt-5-5 are taken and it has no queue (80 of 80)"),
        (NoPlace("queue_length", 64, 64), "the queue for gpt-5-5 is full (64 of 64)"),
        (
            NoPlace("account_queue_length", 32, 32, is_own=True),
            "this account already has its share of the queue for gpt-5-5 (32 of 32)",
        ),
    ],
)
def test_a_full_queue_says_why(no_place: NoPlace, message: str) -> None:
    shed = refusals.queue_full(no_place, model_id="gpt-5-5", wait_s=2.5, now=NOON)
    assert shed.message == f"Busy: {message}. Retry in 3 s."
    assert (shed.code, shed.status, shed.retry_after_s) == ("queue_full", 503, 3)
    assert shed.facts == LimitFacts(
        limit=no_place.limit, value=no_place.value, used=no_place.used, resets_at=NOON + timedelta(seconds=2.5)
    )


def test_a_place_of_unknown_date_is_asked_for_in_a_second() -> None:
    shed = refusals.queue_full(NoPlace("concurrency", 80, 80), model_id="gpt-5-5", wait_s=None, now=NOON)
    assert shed.retry_after_s == 1
    assert shed.facts == LimitFacts(limit="concurrency", value=80, used=80)


def test_a_wait_in_vain_says_how_long_it_was() -> None:
    shed = refusals.queue_timeout(ask(queue_s=5), in_flight=2)
    assert shed.message == "Busy: no slot of gpt-5-5 came free within 5 s. Retry in 5 s."
    assert (shed.code, shed.status_for(anthropic=True), shed.retry_after_s) == ("queue_timeout", 529, 5)
