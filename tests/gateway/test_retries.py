"""When an upstream is asked again, and when it is left alone: budgets, back-off, and what a `Retry-After` does."""

from __future__ import annotations

import random

from apps.gateway.retries import BUDGET_FLOOR, BUDGET_S, Retries
from tests.gateway.rig import route_of

A, B, C = (route_of("openai-chat", key=key) for key in "abc")


def keys(retries: Retries, now: float) -> list[str]:
    return [route.key for route in retries.ordered([A, B, C], now)]


def test_an_outage_adds_a_fifth_to_what_upstreams_are_asked_and_a_few() -> None:
    retries, now = Retries(), 1_000.0
    allowed = 0
    for _ in range(200):
        now += 0.01
        retries.count_call("m", now)
        allowed += sum(retries.may_repeat("m", now) for _ in range(2))
    assert allowed == BUDGET_FLOOR + 200 // 5
    assert (retries.repeats["m"], retries.refused["m"]) == (allowed, 400 - allowed)


def test_what_was_spent_comes_back() -> None:
    retries = Retries()
    assert [retries.may_repeat("m", 5.0) for _ in range(BUDGET_FLOOR + 1)] == [True] * BUDGET_FLOOR + [False]
    assert retries.may_repeat("another", 5.0)
    assert not retries.may_repeat("m", 5.0 + BUDGET_S - 0.5)
    assert retries.may_repeat("m", 5.0 + BUDGET_S + 1)


def test_a_route_that_said_when_to_come_back_is_skipped_until_then() -> None:
    retries = Retries()
    retries.leave_alone("a", 30, 100.0)
    assert keys(retries, 129.9) == ["b", "c"]
    assert keys(retries, 130.0) == ["a", "b", "c"]


def test_the_longer_wait_counts_until_the_route_serves_again() -> None:
    retries = Retries()
    retries.leave_alone("a", 30, 100.0)
    retries.leave_alone("a", 1, 100.0)
    assert keys(retries, 110.0) == ["b", "c"]
    retries.welcome("a")
    assert keys(retries, 110.0) == ["a", "b", "c"]


def test_where_all_are_to_be_left_alone_the_one_that_is_back_first_is_asked() -> None:
    retries = Retries()
    for key, seconds in (("a", 30), ("b", 10), ("c", 20)):
        retries.leave_alone(key, seconds, 100.0)
    assert keys(retries, 101.0) == ["b"]


def test_waits_are_jittered_and_grow() -> None:
    retries = Retries(random.Random(7))
    first, second = ([retries.backoff_s(repeats) for _ in range(50)] for repeats in (0, 1))
    assert 0.05 <= min(first) < max(first) <= 0.15
    assert 0.1 <= min(second) < max(second) <= 0.3
    assert len(set(first)) > 40
    told = [retries.jittered_s(2.0) for _ in range(50)]
    assert 2.0 <= min(told) < max(told) <= 2.1
