"""Limits per minute in each family's words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from apps.dialects.rate_limits import go_duration, rate_headers

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-3, "0s"),
        (0, "0s"),
        (0.012, "1s"),
        (1, "1s"),
        (59.2, "1m0s"),
        (60, "1m0s"),
        (360, "6m0s"),
        (3_599.5, "1h0m0s"),
        (3_723, "1h2m3s"),
    ],
)
def test_durations_are_written_as_go_writes_them(seconds: float, shown: str) -> None:
    assert go_duration(seconds) == shown.encode()


@pytest.mark.parametrize("anthropic", [False, True])
def test_what_does_not_turn_names_no_moment(anthropic: bool) -> None:
    shown = rate_headers(limit=5, remaining=0, resets_at=None, now=NOON, is_tokens=False, anthropic=anthropic)
    assert [name for name, _ in shown if b"reset" in name] == []
    assert len(shown) == 2


def test_instants_are_rounded_up_so_that_nobody_comes_back_too_early() -> None:
    resets_at = NOON + timedelta(milliseconds=1)
    shown = dict(rate_headers(limit=5, remaining=4, resets_at=resets_at, now=NOON, is_tokens=False, anthropic=True))
    assert shown[b"anthropic-ratelimit-requests-reset"] == b"2026-11-22T12:00:01Z"
