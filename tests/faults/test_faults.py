"""A short form of each fault of `make faults`, on the stores under test; always on servers of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import pytest

from tests.faults import hang_ups, kills, races
from tests.faults.clusters import server_programs
from tests.faults.redis_server import has_redis
from tests.faults.table import Row, complaints

IS_EMBEDDED: Final = not os.environ.get("DATABASE_URL")
SHORT: Final = 0.04

pytestmark = pytest.mark.skipif(
    not IS_EMBEDDED and (server_programs() is None or not has_redis()), reason="the servers' programs are missing"
)


def assert_held(rows: Sequence[Row]) -> None:
    assert rows
    for row in rows:
        assert row.has_passed, "\n".join([f"{row.fault}: {row.figures}", *complaints(row)])


def test_a_process_killed_anywhere_leaves_billed_answers_and_nothing_held() -> None:
    assert_held(kills.run(SHORT, is_embedded=IS_EMBEDDED))


def test_money_for_six_calls_serves_six_of_sixty_and_no_budget_is_exceeded() -> None:
    assert_held(races.run(SHORT, is_embedded=IS_EMBEDDED))


def test_a_stream_left_at_any_tenth_is_billed_as_the_upstream_counts() -> None:
    assert_held(hang_ups.run(SHORT, is_embedded=IS_EMBEDDED))
