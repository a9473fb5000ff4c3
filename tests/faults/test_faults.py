"""A short form of each fault of `make faults`, on the stores under test; always on servers of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import pytest

from tests.faults import (
    cuts,
    hang_ups,
    kills,
    leaving,
    locked_account,
    outages,
    races,
    redis_faults,
    restarts,
    retries,
    windows,
)
from tests.faults.clusters import server_programs
from tests.faults.redis_server import has_redis
from tests.faults.table import Row, complaints

IS_EMBEDDED: Final = not os.environ.get("DATABASE_URL")
SHORT: Final = 0.04

on_servers = pytest.mark.skipif(IS_EMBEDDED, reason="the embedded store has no server, no second process, no clock")
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


def test_callers_that_leave_early_or_do_not_read_cost_what_was_done_for_them_and_no_more() -> None:
    assert_held(leaving.run(SHORT, is_embedded=IS_EMBEDDED))


def test_a_storm_of_retries_under_one_key_is_one_charge() -> None:
    assert_held(retries.run(SHORT, is_embedded=IS_EMBEDDED))


@on_servers
def test_a_rolling_restart_breaks_no_stream() -> None:
    assert_held(restarts.run(SHORT))


@on_servers
def test_redis_comes_and_goes_and_no_call_notices() -> None:
    assert_held(redis_faults.run(SHORT))


@on_servers
def test_a_database_that_crashes_costs_new_calls_a_503_and_running_ones_nothing() -> None:
    assert_held(outages.run(SHORT))


@on_servers
def test_connections_cut_around_commit_lose_nothing_and_double_nothing() -> None:
    assert_held(cuts.run(SHORT))


@on_servers
def test_an_account_that_somebody_keeps_locked_holds_up_no_other() -> None:
    assert_held(locked_account.run(SHORT))


@on_servers
def test_a_window_that_turns_under_a_rush_serves_what_each_side_pays_for() -> None:
    assert_held(windows.run(SHORT))
