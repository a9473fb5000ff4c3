"""Capacity as Prometheus reads it."""

from __future__ import annotations

from apps.governor.telemetry.overview import make_overview
from apps.governor.telemetry.report import ModelReport, PathReport, Report
from apps.governor.telemetry.tally import NO_MODEL, Telemetry
from hypereal import health
from hypereal.capacity_metrics import capacity_metrics
from hypereal.health import Distribution, Metric
from tests.governor.rig import MODEL
from tests.governor.telemetry.rig import CATALOG, NOON, served


def lines_of(telemetry: Telemetry) -> list[str]:
    paths = [PathReport(t.model_id, t.route_key, t.in_flight, {}, {}) for t in telemetry.tallies()]
    report = Report("web", "active", False, {MODEL: ModelReport(1, 2, 30, 4, 5, 6)}, paths, {"r2": "open"})
    overview = make_overview([report], CATALOG, is_complete=True, taken_at=NOON)
    totals = {(t.model_id, t.route_key): t.rolling.ever() for t in telemetry.tallies()}
    return "".join(health.render(metric) for metric in capacity_metrics(overview, totals)).splitlines()


def test_counts_and_loads_carry_their_model_and_route() -> None:
    telemetry = Telemetry()
    served(telemetry)
    served(telemetry, "r2", status="failed", http_status=504, error_code="upstream_timeout")
    telemetry.enter(MODEL, "r2", left=None).fail_attempt("upstream_error")
    telemetry.refuse(MODEL, "queue_full")
    telemetry.refuse(NO_MODEL, "key_rpm")
    lines = lines_of(telemetry)
    for line in (
        'hypereal_calls_served_total{model="gpt-5-5",route="r1",outcome="succeeded"} 1',
        'hypereal_calls_failed_total{model="gpt-5-5",route="r2",code="upstream_timeout"} 1',
        'hypereal_calls_refused_total{model="gpt-5-5",route="",code="queue_full"} 1',
        'hypereal_calls_refused_total{model="",route="",code="key_rpm"} 1',
        'hypereal_attempts_failed_total{model="gpt-5-5",route="r2",code="upstream_error"} 1',
        'hypereal_calls_in_flight{model="gpt-5-5",route="r2"} 1',
        'hypereal_circuit_state{model="gpt-5-5",route="r2",state="open"} 1',
        'hypereal_circuit_state{model="gpt-5-5",route="r2",state="closed"} 0',
        'hypereal_slots{model="gpt-5-5"} 2',
        'hypereal_slots_taken{model="gpt-5-5"} 1',
        'hypereal_queue_places_taken{model="gpt-5-5"} 2',
        'hypereal_images_per_minute{model="gpt-5-5"} 6',
    ):
        assert line in lines
    assert not any(line.startswith("hypereal_images_per_minute_allowed{") for line in lines)


def test_a_histogram_is_cumulative_in_seconds() -> None:
    telemetry = Telemetry()
    for first_byte_ms in (7, 8, 500, 10**6):
        served(telemetry, first_byte_ms=first_byte_ms)
    place = 'model="gpt-5-5",route="r1"'
    lines = lines_of(telemetry)
    assert "# TYPE hypereal_first_byte_seconds histogram" in lines
    for line in (
        f'hypereal_first_byte_seconds_bucket{{{place},le="0.008"}} 1',
        f'hypereal_first_byte_seconds_bucket{{{place},le="0.016"}} 2',
        f'hypereal_first_byte_seconds_bucket{{{place},le="0.512"}} 3',
        f'hypereal_first_byte_seconds_bucket{{{place},le="262.144"}} 3',
        f'hypereal_first_byte_seconds_bucket{{{place},le="+Inf"}} 4',
        f"hypereal_first_byte_seconds_sum{{{place}}} 1000.515",
        f"hypereal_first_byte_seconds_count{{{place}}} 4",
    ):
        assert line in lines


def test_routes_and_models_that_are_gone_are_not_shown() -> None:
    telemetry = Telemetry()
    served(telemetry, "gone")
    telemetry.refuse("gone-model", "model_rpm")
    assert not any("gone" in line for line in lines_of(telemetry))


def test_what_a_metric_is_called_ends_in_its_unit() -> None:
    telemetry = Telemetry()
    served(telemetry)
    names = [line.split()[2] for line in lines_of(telemetry) if line.startswith("# TYPE")]
    counters = [line.split()[2] for line in lines_of(telemetry) if line.endswith(" counter")]
    assert all(name.startswith("hypereal_") for name in names)
    assert all(name.endswith("_total") for name in counters)
    assert not any(name.endswith("_total") for name in set(names) - set(counters))


def test_a_distribution_ends_with_all_of_it() -> None:
    metric = Metric("hypereal_x_seconds", "histogram", "X.", [Distribution([(0.5, 1)], 2.5, 3, {"model": "m"})])
    assert health.render(metric).splitlines()[2:] == [
        'hypereal_x_seconds_bucket{model="m",le="0.5"} 1',
        'hypereal_x_seconds_bucket{model="m",le="+Inf"} 3',
        'hypereal_x_seconds_sum{model="m"} 2.5',
        'hypereal_x_seconds_count{model="m"} 3',
    ]
