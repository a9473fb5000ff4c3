from __future__ import annotations

from typing import Any

from apps.governor.telemetry.overview import Percentiles, Use, make_overview
from apps.governor.telemetry.report import ModelReport, PathReport, Report, decode, encode
from apps.governor.telemetry.tally import NO_MODEL, NO_ROUTE, Telemetry
from tests.governor.rig import MODEL
from tests.governor.telemetry.rig import CATALOG, NOON, served


def report(telemetry: Telemetry | None = None, **fields: Any) -> Report:
    """What a process posts; read back as the others read it."""
    paths = [
        PathReport(t.model_id, t.route_key, t.in_flight, t.rolling.minute(100.0), t.rolling.five_minutes(100.0))
        for t in (telemetry or process()).tallies()
    ]
    values: dict[str, Any] = {
        "process": "web", "mode": "active", "is_shared": False, "models": {}, "paths": paths, "circuits": {}
    }  # fmt: skip
    read = decode(encode(Report(**{**values, **fields})))
    assert read is not None
    return read


def process() -> Telemetry:
    return Telemetry(monotonic=lambda: 100.0)


def overview(*reports: Report) -> Any:
    return make_overview(list(reports), CATALOG, is_complete=True, taken_at=NOON)


def test_two_processes_add_up() -> None:
    one, other = process(), process()
    for first_byte_ms in (10, 20):
        served(one, "r1", first_byte_ms=first_byte_ms)
    served(other, "r1", first_byte_ms=30)
    served(other, "r2", status="failed", http_status=502, error_code="upstream_error")
    other.refuse(MODEL, "queue_full")
    other.refuse(MODEL, "insufficient_credits")
    other.enter(MODEL, "r2", left=None)
    [model] = overview(report(one), report(other)).models
    assert (model.minute.calls, model.minute.succeeded, model.minute.failed) == (4, 3, 1)
    assert (model.minute.error_percent, model.minute.errors) == (25.0, {"upstream_error": 1})
    assert (model.minute.shed, model.minute.refused) == ({"queue_full": 1}, {"insufficient_credits": 1})
    assert model.minute.first_byte_ms == Percentiles(20, 30, 30)
    first, second = model.routes
    assert (first.minute.calls, second.minute.calls, first.in_flight, second.in_flight) == (3, 1, 0, 1)


def test_a_row_for_every_model_of_the_catalog_and_none_for_others() -> None:
    telemetry = process()
    telemetry.tally("gone", NO_ROUTE).refuse("model_rpm")
    telemetry.refuse(NO_MODEL, "key_rpm")
    shown = overview(report(telemetry))
    [model] = shown.models
    assert (model.model, model.minute.calls) == (MODEL, 0)
    assert model.minute.first_byte_ms == Percentiles(None, None, None)
    assert (shown.minute.shed, shown.processes) == ({"model_rpm": 1, "key_rpm": 1}, 1)


def test_what_processes_know_of_themselves_is_added_and_what_they_share_is_not() -> None:
    load = {MODEL: ModelReport(2, 3, 30, 4, 5, 6)}
    alone = overview(report(models=load), report(models=load)).models[0]
    shared = overview(report(models=load, is_shared=True), report(models=load, is_shared=True)).models[0]
    assert (alone.in_flight, alone.queued, alone.requests_in_minute) == (Use(4, 2), Use(6, 8), Use(8, 1_000))
    assert (shared.in_flight, shared.queued, shared.requests_in_minute) == (Use(2, 2), Use(3, 8), Use(4, 1_000))


def test_a_process_that_lost_the_shared_store_does_not_count_again() -> None:
    shared = report(models={MODEL: ModelReport(5, 0, 0, 0, 0, 0)}, is_shared=True)
    lost = report(models={MODEL: ModelReport(1, 0, 0, 0, 0, 0)}, mode="degraded")
    shown = overview(shared, lost)
    assert (shown.models[0].in_flight.used, shown.governor) == (5, "degraded")


def test_the_worst_circuit_is_shown() -> None:
    shown = overview(report(circuits={"r1": "half_open"}), report(circuits={"r1": "open", "r2": "half_open"})).models[0]
    assert (shown.circuit, [route.circuit for route in shown.routes]) == ("open", ["open", "half_open"])


def test_a_report_of_another_version_is_left_out() -> None:
    assert decode(b'{"process": "web"}') is None
    assert decode(b"\xff") is None
