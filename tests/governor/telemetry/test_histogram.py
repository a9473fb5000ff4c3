from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from apps.governor.telemetry.histogram import (
    BUCKETS,
    MOST,
    below_power,
    bucket_of,
    least_of,
    middle_of,
    percentile,
)

VALUES = st.lists(st.integers(0, MOST) | st.integers(0, 5_000), min_size=1, max_size=200)


def test_buckets_follow_each_other_without_a_gap() -> None:
    firsts = [least_of(bucket) for bucket in range(BUCKETS)]
    assert firsts == sorted(set(firsts))
    assert [bucket_of(first) for first in firsts] == list(range(BUCKETS))
    assert all(bucket_of(firsts[bucket + 1] - 1) == bucket for bucket in range(BUCKETS - 1))


def test_what_is_out_of_range_is_counted_at_its_end() -> None:
    assert (bucket_of(-5), bucket_of(MOST + 1), bucket_of(10**12)) == (0, BUCKETS - 1, BUCKETS - 1)


def test_small_numbers_are_exact() -> None:
    assert [middle_of(bucket_of(value)) for value in range(32)] == list(range(32))


@given(st.integers(0, MOST))
def test_a_bucket_tells_its_values_within_a_thirty_second(value: int) -> None:
    assert abs(middle_of(bucket_of(value)) - value) * 32 <= value


@given(VALUES, st.sampled_from([1, 50, 95, 99, 100]))
def test_a_percentile_is_within_a_thirty_second_of_the_true_one(values: list[int], percent: int) -> None:
    ranked = sorted(values)
    truth = ranked[max(1, -(-len(values) * percent // 100)) - 1]
    told = percentile(Counter(bucket_of(value) for value in values), percent)
    assert told is not None
    assert abs(told - truth) * 32 <= truth


def test_nothing_counted_has_no_percentile() -> None:
    assert percentile({}, 50) is None


@given(VALUES, st.integers(0, 25))
def test_counts_below_a_power_of_two_are_exact(values: list[int], power: int) -> None:
    histogram = Counter(bucket_of(value) for value in values)
    assert below_power(histogram, min(power, 24)) == sum(value < 1 << min(power, 24) for value in values)
