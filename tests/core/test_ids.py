from __future__ import annotations

import time
import uuid

import pytest

from apps.core.clock import monotonic, now
from apps.core.ids import new_id, parse_request_id, show_request_id, time_bound


def test_ids_are_version_7_and_sort_by_time() -> None:
    made = [new_id() for _ in range(1_000)]
    assert made == sorted(made)
    assert len(set(made)) == 1_000
    assert {one.version for one in made} == {7}
    assert {one.variant for one in made} == {uuid.RFC_4122}


def test_an_id_lies_between_the_bounds_of_its_millisecond() -> None:
    before_ms = time.time_ns() // 1_000_000
    made = new_id()
    after_ms = time.time_ns() // 1_000_000
    assert time_bound(before_ms) <= made < time_bound(after_ms + 1)


def test_request_ids_are_shown_and_read_back() -> None:
    made = new_id()
    shown = show_request_id(made)
    assert shown == f"req_{made.hex}"
    assert parse_request_id(shown) == parse_request_id(str(made)) == made


@pytest.mark.parametrize("text", ["", "req_", "req_12", "ck_" + "0" * 32, "req_" + "z" * 32])
def test_what_is_no_request_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"UUID|base 16"):
        parse_request_id(text)


def test_the_clock_has_a_time_zone_and_never_goes_back() -> None:
    offset = now().utcoffset()
    assert offset is not None
    assert offset.total_seconds() == 0
    first, second = monotonic(), monotonic()
    assert second >= first
