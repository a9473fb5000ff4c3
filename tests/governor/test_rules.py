from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.governor.rules import Circuit, Load, NoPlace, RollingWindow, check_place, whole_seconds
from tests.governor.rig import capacity

MOMENTS = st.lists(st.integers(min_value=0, max_value=8 * 200), max_size=120).map(sorted)
"""Eighths of seconds: exact as floats."""


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.0000000002, 1), (1.01, 2), (59.5, 60), (60.00000000001, 60)]
)
def test_a_wait_is_rounded_up(seconds: float, shown: int) -> None:
    assert whole_seconds(seconds) == shown


class TestRollingWindow:
    def test_a_call_leaves_after_sixty_seconds(self) -> None:
        window = RollingWindow()
        window.count(3, 100.75)
        assert [window.used(now) for now in (100.75, 160.5, 160.75)] == [3, 3, 0]

    def test_a_bucket_leaves_with_its_latest_call(self) -> None:
        window = RollingWindow()
        window.count(1, 0.0)
        window.count(1, 0.875)
        window.count(1, 1.0)
        assert [window.used(now) for now in (60.0, 60.75, 60.875, 61.0)] == [3, 3, 1, 0]

    def test_an_hour_of_calls_needs_no_more_than_a_minute_of_buckets(self) -> None:
        window = RollingWindow()
        for eighth in range(8 * 3_600):
            window.used(eighth / 8)
            window.count(1, eighth / 8)
        assert len(window._buckets) <= 62

    def test_a_refund_comes_off_the_bucket_it_was_counted_in(self) -> None:
        window = RollingWindow()
        window.count(10, 0.0)
        window.count(10, 30.0)
        window.refund(4, counted_at=0.0, now=31.0)
        assert [window.used(now) for now in (31.0, 60.0, 90.0)] == [16, 10, 0]

    def test_what_has_left_has_nothing_to_give_back(self) -> None:
        window = RollingWindow()
        window.count(10, 0.0)
        window.count(10, 30.0)
        window.refund(10, counted_at=0.0, now=60.0)
        assert window.used(60.0) == 10

    def test_a_window_given_back_whole_is_idle(self) -> None:
        window = RollingWindow()
        window.count(10, 0.0)
        window.refund(10, counted_at=0.0, now=0.5)
        assert (window.is_idle(0.5), window.used(0.5), window.oldest_leaves_in(0.5)) == (True, 0, 0.0)

    def test_it_knows_when_enough_leaves(self) -> None:
        window = RollingWindow()
        for second, amount in ((0.0, 5), (10.0, 3), (20.0, 2)):
            window.count(amount, second)
        waits = [window.seconds_until(amount, limit=10, now=30.0) for amount in (0, 1, 5, 6, 8, 9, 10, 11)]
        assert waits == [0.0, 30.0, 30.0, 40.0, 40.0, 50.0, 50.0, 60.0]

    @given(moments=MOMENTS, limit=st.integers(1, 8), dropped=st.sets(st.integers(0, 119)))
    def test_no_sixty_seconds_hold_more_than_the_limit(self, moments: list[int], limit: int, dropped: set[int]) -> None:
        window = RollingWindow()
        counted: list[float] = []
        for number, now in enumerate(eighth / 8 for eighth in moments):
            if window.used(now) + 1 <= limit:
                window.count(1, now)
                counted.append(now)
            if number in dropped and counted:
                given_back = counted.pop(number % len(counted))
                is_in_window = given_back > now - 60
                before = window.used(now)
                window.refund(1, counted_at=given_back, now=now)
                if is_in_window:
                    assert window.used(now) == before - 1
                else:
                    assert window.used(now) in (before, before - 1)
            in_window = [at for at in counted if now - 60 < at]
            assert len(in_window) <= window.used(now) <= limit
        for end in counted:
            assert sum(end - 60 < at <= end for at in counted) <= limit

    @given(moments=MOMENTS, limit=st.integers(1, 8), amount=st.integers(1, 8))
    def test_after_the_wait_it_fits_and_not_a_bucket_sooner(self, moments: list[int], limit: int, amount: int) -> None:
        window = RollingWindow()
        now = 0.0
        for now in (eighth / 8 for eighth in moments):
            if window.used(now) + 1 <= limit:
                window.count(1, now)
        wait_s = window.seconds_until(amount, limit=limit, now=now)
        if amount > limit:
            assert wait_s == 60.0
        else:
            assert wait_s == 0.0 or window.used(now + wait_s - 0.125) + amount > limit
            assert window.used(now + wait_s) + amount <= limit


class TestCheckPlace:
    POLICY = capacity(queue_s=5, queue_length=5, queue_tokens=1_001)

    @pytest.mark.parametrize(
        ("queued", "own", "tokens", "expected"),
        [
            (Load(), Load(), 1_001, None),
            (Load(), Load(), 1_002, NoPlace("queue_tokens", 1_001, 0)),
            (Load(4, 400), Load(1, 100), 100, None),
            (Load(5, 400), Load(0, 0), 1, NoPlace("queue_length", 5, 5)),
            (Load(4, 400), Load(2, 100), 1, NoPlace("account_queue_length", 2, 2, is_own=True)),
            (Load(1, 400), Load(1, 400), 100, None),
            (Load(1, 400), Load(1, 400), 101, NoPlace("account_queue_tokens", 500, 400, is_own=True)),
        ],
    )
    def test_the_bound_that_refuses_is_named(
        self, queued: Load, own: Load, tokens: int, expected: NoPlace | None
    ) -> None:
        assert check_place(capacity=self.POLICY, queued=queued, own=own, tokens=tokens) == expected

    @pytest.mark.parametrize("off", [{"queue_s": 0}, {"queue_length": 0}])
    def test_without_a_queue_the_slots_refuse(self, off: dict[str, int]) -> None:
        policy = capacity(concurrency=80, **off)
        assert check_place(capacity=policy, queued=Load(), own=Load(), tokens=1) == NoPlace("concurrency", 80, 80)


def tripped(*, at: float = 0.0) -> Circuit:
    circuit = Circuit()
    for _ in range(10):
        circuit.report(ok=False, began_at=None, now=at)
    assert circuit.state(at) == "open"
    return circuit


class TestCircuit:
    @pytest.mark.parametrize(
        ("succeeded", "failed", "state"),
        [(0, 9, "closed"), (0, 10, "open"), (10, 9, "closed"), (10, 10, "open"), (90, 10, "closed"), (5, 5, "open")],
    )
    def test_it_opens_at_half_of_at_least_ten_calls(self, succeeded: int, failed: int, state: str) -> None:
        circuit = Circuit()
        for ok in [True] * succeeded + [False] * failed:
            circuit.report(ok=ok, began_at=None, now=1.0)
        assert circuit.state(1.0) == state

    def test_failures_older_than_half_a_minute_are_forgotten(self) -> None:
        circuit = Circuit()
        for _ in range(9):
            circuit.report(ok=False, began_at=None, now=0.0)
        circuit.report(ok=False, began_at=None, now=30.0)
        assert circuit.state(30.0) == "closed"

    def test_it_stays_open_twice_as_long_each_time_the_probe_fails(self) -> None:
        circuit, now, open_s = tripped(), 0.0, []
        for _ in range(5):
            open_s.append(circuit.open_s)
            assert not circuit.may_call(now + circuit.open_s - 0.125)
            now += circuit.open_s
            assert circuit.may_call(now)
            circuit.report(ok=False, began_at=now, now=now)
            assert circuit.state(now) == "open"
        assert open_s == [10, 20, 40, 60, 60]

    def test_once_closed_it_starts_afresh(self) -> None:
        circuit = tripped()
        assert circuit.may_call(10.0)
        circuit.report(ok=False, began_at=10.0, now=10.0)
        assert circuit.may_call(30.0)
        circuit.report(ok=True, began_at=30.0, now=31.0)
        for _ in range(9):
            circuit.report(ok=False, began_at=31.0, now=31.0)
        assert circuit.state(31.0) == "closed"
        circuit.report(ok=False, began_at=31.0, now=31.0)
        assert (circuit.state(40.875), circuit.state(41.0)) == ("open", "half_open")

    def test_a_lost_probe_is_forgotten_after_a_minute(self) -> None:
        circuit = tripped()
        assert [circuit.may_call(now) for now in (10.0, 10.0, 70.0, 70.125, 70.125)] == [
            True,
            False,
            False,
            True,
            False,
        ]

    def test_calls_from_before_the_opening_are_not_the_probe(self) -> None:
        circuit = tripped(at=100.0)
        assert circuit.may_call(110.0)
        circuit.report(ok=False, began_at=99.0, now=111.0)
        circuit.report(ok=True, began_at=99.0, now=111.0)
        assert circuit.state(111.0) == "half_open"
        circuit.report(ok=True, began_at=110.0, now=112.0)
        for _ in range(20):
            circuit.report(ok=False, began_at=99.0, now=113.0)
        assert circuit.state(113.0) == "closed"

    def test_reports_without_a_probe_change_nothing(self) -> None:
        circuit = tripped()
        circuit.report(ok=True, began_at=None, now=1.0)
        assert circuit.state(1.0) == "open"
        circuit.report(ok=True, began_at=None, now=10.0)
        circuit.report(ok=False, began_at=None, now=10.0)
        assert (circuit.state(10.0), circuit.may_call(10.0)) == ("half_open", True)
