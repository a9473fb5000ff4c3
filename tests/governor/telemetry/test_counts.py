from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apps.governor.telemetry import counts
from apps.governor.telemetry.counts import FIRST_BYTE_MS, SLICE_S, Rolling


def count(rolling: Rolling, now: float, name: str = "calls") -> None:
    at = rolling.at(now)
    at[name] = at.get(name, 0) + 1


@given(st.lists(st.tuples(st.floats(0, 400), st.sampled_from(["a", "b"])), max_size=60))
def test_a_minute_holds_what_its_slices_do_and_nothing_is_lost(calls: list[tuple[float, str]]) -> None:
    rolling = Rolling(1_000.0)
    seen: list[tuple[float, str]] = []
    for gap_s, name in calls:
        now = (seen[-1][0] if seen else 1_000.0) + gap_s
        count(rolling, now, name)
        seen.append((now, name))
        for window, read in ((60, rolling.minute), (300, rolling.five_minutes)):
            first_slice = now // SLICE_S - window // SLICE_S
            names = [each for at, each in seen if at // SLICE_S >= first_slice]
            assert read(now) == {each: names.count(each) for each in set(names)}
    names = [each for _, each in seen]
    assert rolling.ever() == {each: names.count(each) for each in set(names)}


def test_a_call_is_seen_for_a_minute_and_for_five() -> None:
    rolling = Rolling(0.0)
    count(rolling, 5.0)
    assert rolling.minute(5.0) == rolling.minute(69.9) == {"calls": 1}
    assert (rolling.minute(70.0), rolling.five_minutes(309.9)) == ({}, {"calls": 1})
    assert (rolling.five_minutes(310.0), rolling.ever()) == ({}, {"calls": 1})


def test_a_long_silence_costs_no_more_than_a_short_one() -> None:
    rolling = Rolling(0.0)
    count(rolling, 0.0)
    count(rolling, 10.0**9)
    assert rolling.five_minutes(10.0**9) == {"calls": 1}
    assert len(rolling._closed) <= counts.FIVE_MINUTES
    assert rolling.ever() == {"calls": 2}


def test_a_measure_keeps_its_sum_and_its_buckets_apart_from_others() -> None:
    counted: counts.Counts = {"succeeded": 3, "failed:first_byte_ms": 1}
    for value in (3, 3, 20):
        FIRST_BYTE_MS.count(counted, value)
    counts.WAIT_MS.count(counted, 7)
    assert FIRST_BYTE_MS.histogram(counted) == {3: 2, 20: 1}
    assert counted[FIRST_BYTE_MS.of_sum] == 26


def test_adding_and_taking_away_again_leaves_nothing() -> None:
    kept: counts.Counts = {"a": 1}
    counts.add(kept, {"a": 2, "b": 3})
    assert kept == {"a": 3, "b": 3}
    counts.subtract(kept, {"a": 2, "b": 3})
    assert kept == {"a": 1}


def test_minutes_in_which_nobody_waited_leave_nothing_behind() -> None:
    rolling = Rolling(0.0)
    for slice_number in range(2 * counts.FIVE_MINUTES):
        counts.WAIT_MS.count(rolling.at(slice_number * SLICE_S), 0)
    assert rolling.ever()["wait_ms.0"] == 2 * counts.FIVE_MINUTES
    long_after = 10.0 * counts.FIVE_MINUTES * SLICE_S
    assert (rolling.minute(long_after), rolling.five_minutes(long_after)) == ({}, {})
