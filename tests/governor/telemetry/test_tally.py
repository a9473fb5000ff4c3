from __future__ import annotations

from typing import Any

import pytest

from apps.governor.telemetry import counts
from apps.governor.telemetry.counts import Counts
from apps.governor.telemetry.tally import NO_ROUTE, Telemetry
from tests.governor.rig import MODEL
from tests.governor.telemetry.rig import record, served


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(monotonic=lambda: 100.0)


def counted(telemetry: Telemetry, route: str = "r1") -> Counts:
    return telemetry.tally(MODEL, route).rolling.current


def outcomes(telemetry: Telemetry, route: str = "r1") -> Counts:
    """Without the histograms."""
    return {name: count for name, count in counted(telemetry, route).items() if "." not in name}


def test_a_plain_reply_is_made_from_its_slot_to_its_end(telemetry: Telemetry) -> None:
    served(telemetry, latency_ms=1_020, first_byte_ms=1_020, queue_ms=20, output_tokens=30)
    now = counted(telemetry)
    assert outcomes(telemetry) == {"succeeded": 1}
    assert (now["wait_ms.sum"], now["first_byte_ms.sum"], now["output_tokens_per_s.sum"]) == (20, 1_020, 30)


def test_a_stream_is_made_from_its_first_byte_to_its_end(telemetry: Telemetry) -> None:
    served(telemetry, is_stream=True, latency_ms=1_200, first_byte_ms=200, output_tokens=50)
    assert counted(telemetry)["output_tokens_per_s.sum"] == 50


def test_what_came_at_once_is_no_division_by_zero(telemetry: Telemetry) -> None:
    served(telemetry, latency_ms=0, first_byte_ms=0, output_tokens=2)
    assert counted(telemetry)["output_tokens_per_s.sum"] == 2_000


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"status": "abandoned"}, "abandoned"),
        ({"status": "failed", "http_status": 502, "error_code": "upstream_error"}, "failed:upstream_error"),
        ({"status": "failed", "http_status": 400, "error_code": "invalid_request"}, "refused:invalid_request"),
        ({"status": "failed", "http_status": 503, "error_code": "circuit_open"}, "refused:circuit_open"),
    ],
)
def test_a_call_is_counted_by_how_it_ended(telemetry: Telemetry, fields: dict[str, Any], name: str) -> None:
    served(telemetry, **fields)
    assert outcomes(telemetry) == {name: 1}


def test_a_refusal_is_counted_once_though_its_record_comes_by(telemetry: Telemetry) -> None:
    telemetry.refuse(MODEL, "queue_full")
    telemetry.end(record(status="refused", http_status=503, error_code="queue_full"), None)
    assert outcomes(telemetry, NO_ROUTE) == {"refused:queue_full": 1}


def test_a_call_is_in_flight_on_one_route_at_a_time(telemetry: Telemetry) -> None:
    first = telemetry.enter(MODEL, "r1", left=None)
    first.fail_attempt("upstream_timeout")
    second = telemetry.enter(MODEL, "r2", left=first)
    assert (first.in_flight, second.in_flight) == (0, 1)
    telemetry.end(record(), second)
    assert (first.in_flight, second.in_flight) == (0, 0)
    assert outcomes(telemetry, "r1") == {"attempt_failed:upstream_timeout": 1}
    assert outcomes(telemetry, "r2") == {"succeeded": 1}


def test_the_same_route_asked_again_holds_one_call(telemetry: Telemetry) -> None:
    first = telemetry.enter(MODEL, "r1", left=None)
    assert telemetry.enter(MODEL, "r1", left=first).in_flight == 1


def test_what_was_handed_on_is_not_handed_on_again(telemetry: Telemetry) -> None:
    tally = telemetry.tally(MODEL, "r1")
    served(telemetry, first_byte_ms=None)
    fresh = tally.not_handed_on()
    served(telemetry, first_byte_ms=None)  # while the first is on its way
    tally.hand_on(fresh)
    assert tally.not_handed_on() == {"succeeded": 1, "wait_ms.0": 1}
    assert counts.total((fresh, tally.not_handed_on())) == tally.rolling.ever()
