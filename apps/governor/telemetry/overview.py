"""Capacity as people and machines are shown it: a row per model, its routes below it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from apps.catalog.rules import Capacity
from apps.governor.telemetry import counts
from apps.governor.telemetry.counts import SHED, Counts, Measure
from apps.governor.telemetry.histogram import percentile
from apps.governor.telemetry.report import ModelReport, PathReport, Report, merge_circuits, merge_models


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the catalog says of a model."""

    model_id: str
    name: str
    capacity: Capacity
    routes: Sequence[RouteFacts]


@dataclass(frozen=True, slots=True)
class RouteFacts:
    key: str
    provider: str
    upstream_model: str


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Each within 1/32 of the truth; None where nothing was measured."""

    p50: int | None
    p95: int | None
    p99: int | None


@dataclass(frozen=True, slots=True)
class Period:
    """Calls that ended within the last minute, or five."""

    calls: int
    """Those that were served, abandoned by their caller, or failed."""
    succeeded: int
    abandoned: int
    failed: int
    error_percent: float
    """Of `calls`."""
    errors: dict[str, int]
    """Failed calls by error code."""
    shed: dict[str, int]
    """Calls turned away for want of capacity, by error code: they have not failed."""
    refused: dict[str, int]
    """Calls turned away for the caller's own reasons, by error code."""
    attempts_failed: dict[str, int]
    """Attempts at a route that failed before a byte reached the caller, whom another may have served."""
    wait_ms: Percentiles
    """In the queue, of every admitted call: 0 for most."""
    first_byte_ms: Percentiles
    """From the request's last byte to the reply's first; of a plain reply, to all of it."""
    output_tokens_per_s: Percentiles
    """While the answer was made."""


@dataclass(frozen=True, slots=True)
class RouteLoad:
    route: str
    provider: str
    upstream_model: str
    circuit: str
    in_flight: int
    minute: Period
    five_minutes: Period


@dataclass(frozen=True, slots=True)
class Use:
    """A limit and what is used of it; `limit` None: there is none."""

    used: int
    limit: int | None


@dataclass(frozen=True, slots=True)
class ModelLoad:
    model: str
    name: str
    in_flight: Use
    """Slots taken."""
    queued: Use
    """Calls that wait for one."""
    queued_tokens: Use
    requests_in_minute: Use
    tokens_in_minute: Use
    images_in_minute: Use
    circuit: str
    """The worst of its routes': `closed` where none is otherwise."""
    minute: Period
    five_minutes: Period
    routes: list[RouteLoad]


@dataclass(frozen=True, slots=True)
class Overview:
    taken_at: datetime
    governor: str
    """`active`, or `degraded` where a process keeps limits by itself."""
    is_complete: bool
    """Whether all processes are in it; only the one that answers, where the store between them is away."""
    processes: int
    in_flight: int
    queued: int
    minute: Period
    five_minutes: Period
    models: list[ModelLoad]


def make_overview(
    reports: list[Report], catalog: Iterable[ModelFacts], *, is_complete: bool, taken_at: datetime
) -> Overview:
    """Add up what processes report of the catalog's models. Routes that are gone still count for their model."""
    paths: dict[str, list[PathReport]] = {}
    for report in reports:
        for path in report.paths:
            paths.setdefault(path.model_id, []).append(path)
    loads, circuits = merge_models(reports), merge_circuits(reports)
    models = [_model(facts, loads.get(facts.model_id), paths.get(facts.model_id, []), circuits) for facts in catalog]
    minute, five_minutes = _periods([path for of_model in paths.values() for path in of_model])
    return Overview(
        taken_at=taken_at,
        governor="degraded" if any(report.mode == "degraded" for report in reports) else "active",
        is_complete=is_complete,
        processes=len(reports),
        in_flight=sum(model.in_flight.used for model in models),
        queued=sum(model.queued.used for model in models),
        minute=minute,
        five_minutes=five_minutes,
        models=models,
    )


def _model(
    facts: ModelFacts, load: ModelReport | None, paths: list[PathReport], circuits: Mapping[str, str]
) -> ModelLoad:
    load = load or ModelReport(0, 0, 0, 0, 0, 0)
    capacity = facts.capacity
    minute, five_minutes = _periods(paths)
    states = [circuits.get(route.key, "closed") for route in facts.routes]
    return ModelLoad(
        model=facts.model_id,
        name=facts.name,
        in_flight=Use(load.in_flight, capacity.concurrency),
        queued=Use(load.queued, capacity.queue_length if capacity.queue_s else 0),
        queued_tokens=Use(load.queued_tokens, capacity.queue_tokens if capacity.queue_s else 0),
        requests_in_minute=Use(load.requests_in_minute, capacity.rpm),
        tokens_in_minute=Use(load.tokens_in_minute, capacity.tpm),
        images_in_minute=Use(load.images_in_minute, capacity.ipm),
        circuit=next((state for state in ("open", "half_open") if state in states), "closed"),
        minute=minute,
        five_minutes=five_minutes,
        routes=[_route(route, state, paths) for route, state in zip(facts.routes, states, strict=True)],
    )


def _route(facts: RouteFacts, circuit: str, paths: list[PathReport]) -> RouteLoad:
    own = [path for path in paths if path.route_key == facts.key]
    minute, five_minutes = _periods(own)
    return RouteLoad(
        route=facts.key,
        provider=facts.provider,
        upstream_model=facts.upstream_model,
        circuit=circuit,
        in_flight=sum(path.in_flight for path in own),
        minute=minute,
        five_minutes=five_minutes,
    )


def _periods(paths: list[PathReport]) -> tuple[Period, Period]:
    return (
        make_period(counts.total(path.minute for path in paths)),
        make_period(counts.total(path.five_minutes for path in paths)),
    )


def make_period(counted: Counts) -> Period:
    succeeded, abandoned = counted.get(counts.SUCCEEDED, 0), counted.get(counts.ABANDONED, 0)
    errors = counts.by_code(counted, counts.FAILED)
    failed = sum(errors.values())
    calls = succeeded + abandoned + failed
    turned_away = counts.by_code(counted, counts.REFUSED)
    return Period(
        calls=calls,
        succeeded=succeeded,
        abandoned=abandoned,
        failed=failed,
        error_percent=round(100 * failed / calls, 1) if calls else 0.0,
        errors=errors,
        shed={code: count for code, count in turned_away.items() if code in SHED},
        refused={code: count for code, count in turned_away.items() if code not in SHED},
        attempts_failed=counts.by_code(counted, counts.ATTEMPT_FAILED),
        wait_ms=_percentiles(counts.WAIT_MS, counted),
        first_byte_ms=_percentiles(counts.FIRST_BYTE_MS, counted),
        output_tokens_per_s=_percentiles(counts.OUTPUT_TOKENS_PER_S, counted),
    )


def _percentiles(measure: Measure, counted: Counts) -> Percentiles:
    histogram = measure.histogram(counted)
    return Percentiles(percentile(histogram, 50), percentile(histogram, 95), percentile(histogram, 99))
