"""When to ask an upstream again, in all the ways in which upstreams say so."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from apps.upstreams.retry_after import MAX_RETRY_AFTER_S, read_retry_after

NOON = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "told_s", "wait_s"),
    [
        ({}, None, None),
        ({}, 7, 7),
        ({"retry-after": "3"}, None, 3),
        ({"retry-after": "3"}, 7, 3),
        ({"retry-after": "0"}, None, 1),
        ({"retry-after": "999999"}, None, MAX_RETRY_AFTER_S),
        ({"retry-after": "9" * 5_000}, None, None),
        ({"retry-after": "Fri, 27 Nov 2026 12:00:30 GMT"}, None, 30),
        ({"retry-after": "Fri, 27 Nov 2026 11:00:00 GMT"}, None, 1),
        ({"retry-after": "Fri, 27 Nov 2026 12:00:30 -0000"}, None, 30),
        ({"retry-after": "Fri, 27 Nov 99999 12:00:30 GMT"}, None, None),
        ({"retry-after": "soon"}, None, None),
        ({"retry-after": "1.5"}, None, None),
        ({"retry-after": "-5"}, None, None),
        ({"retry-after": "\u0663"}, 7, 7),
        ({"retry-after-ms": "1200"}, None, 2),
        ({"retry-after-ms": "1200", "retry-after": "9"}, None, 2),
        ({"retry-after-ms": "x", "retry-after": "9"}, None, 9),
    ],
)
def test_what_upstreams_say(headers: dict[str, str], told_s: int | None, wait_s: int | None) -> None:
    assert read_retry_after(headers, told_s=told_s, now=NOON) == wait_s
