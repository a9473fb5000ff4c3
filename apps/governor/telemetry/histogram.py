"""Histograms of whole numbers in buckets that widen with the value: any percentile within 1/32 of the truth. Pure.

Shape: up to 31 each number has its own bucket; from there each doubling is cut into 16, so a bucket is never wider than
       1/16 of its values. Buckets are numbered through; a histogram is a mapping from number to count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CUTS_LOG2: Final = 4
CUTS: Final = 1 << CUTS_LOG2
MOST_BITS: Final = 25
MOST: Final = (1 << MOST_BITS) - 1
"""Nine hours, in milliseconds: what is more is counted as that."""


def bucket_of(value: int) -> int:
    """The number of the bucket that `value` is counted in. Below zero is zero."""
    if value < CUTS:
        return max(0, value)
    if value > MOST:
        value = MOST
    shift = value.bit_length() - CUTS_LOG2 - 1
    return (shift << CUTS_LOG2) + (value >> shift)


def least_of(bucket: int) -> int:
    """The least value that is counted in this bucket."""
    if bucket < 2 * CUTS:
        return bucket
    shift = (bucket >> CUTS_LOG2) - 1
    return (bucket - (shift << CUTS_LOG2)) << shift


def middle_of(bucket: int) -> int:
    """What stands for all values of this bucket."""
    least = least_of(bucket)
    return (least + least_of(bucket + 1) - 1) // 2


BUCKETS: Final = bucket_of(MOST) + 1


def percentile(histogram: Mapping[int, int], percent: int) -> int | None:
    """The value that `percent` of the counted ones do not exceed (nearest rank); None where nothing is counted."""
    total = sum(histogram.values())
    if not total:
        return None
    rank = max(1, -(-total * percent // 100))
    for bucket in sorted(histogram):
        rank -= histogram[bucket]
        if rank <= 0:
            return middle_of(bucket)
    raise AssertionError("a histogram counts less than its total")


def below_power(histogram: Mapping[int, int], power: int) -> int:
    """How many of the counted values are below 2 ** `power`: exact, for no bucket crosses a power of two."""
    end = bucket_of(1 << power)
    return sum(count for bucket, count in histogram.items() if bucket < end)
