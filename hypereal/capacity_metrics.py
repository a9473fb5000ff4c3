"""Capacity as Prometheus reads it. Labels are models and routes of the catalog, and error codes of the one table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from apps.governor.telemetry import counts
from apps.governor.telemetry.board import Totals
from apps.governor.telemetry.counts import Counts, Measure
from apps.governor.telemetry.histogram import below_power
from apps.governor.telemetry.overview import ModelLoad, Overview
from apps.governor.telemetry.tally import NO_MODEL, NO_ROUTE
from hypereal.health import Distribution, Metric, Sample

Labels = dict[str, str]

MS_POWERS: Final = range(3, 19)
"""8 ms to 262 s, doubling."""
SPEED_POWERS: Final = range(2, 13)
"""4 to 4,096 tokens per second."""
CIRCUIT_STATES: Final = ("closed", "open", "half_open")

LOADS: Final = (
    ("slots", "slots_taken", "in_flight", "Slots: calls that may be on their way at once.", "Slots that are taken."),
    ("queue_places", "queue_places_taken", "queued", "Calls that may wait for a slot.", "Calls that wait for a slot."),
    (
        "queue_tokens_allowed", "queue_tokens", "queued_tokens",
        "Tokens that waiting calls may come to.", "Tokens that waiting calls are estimated at.",
    ),
    (
        "requests_per_minute_allowed", "requests_per_minute", "requests_in_minute",
        "Requests that may be admitted within a minute.", "Requests admitted within the last minute.",
    ),
    (
        "tokens_per_minute_allowed", "tokens_per_minute", "tokens_in_minute",
        "Tokens that may be used within a minute.", "Tokens used or reserved within the last minute.",
    ),
    (
        "images_per_minute_allowed", "images_per_minute", "images_in_minute",
        "Images that may be asked for within a minute.", "Images asked for within the last minute.",
    ),
)  # fmt: skip
"""Limit, use, the overview's name of both, what each is."""

HISTOGRAMS: Final = (
    ("queue_wait_seconds", counts.WAIT_MS, MS_POWERS, 1_000, "Wait for a slot, of admitted calls."),
    (
        "first_byte_seconds", counts.FIRST_BYTE_MS, MS_POWERS, 1_000,
        "From a request's last byte to its reply's first; of a plain reply, to all of it.",
    ),
    (
        "output_tokens_per_second", counts.OUTPUT_TOKENS_PER_S, SPEED_POWERS, 1,
        "Output tokens per second while an answer was made.",
    ),
)  # fmt: skip


def capacity_metrics(overview: Overview, totals: Totals) -> Iterator[Metric]:
    """All metrics of calls and capacity. Of routes and models that are gone, nothing is said."""
    yield _gauge("processes", "Web processes in these figures.", [Sample(overview.processes)])
    yield _gauge(
        "telemetry_is_complete",
        "1: of all web processes. 0: of the one that answers, for Redis is away.",
        [Sample(int(overview.is_complete))],
    )
    yield from _loads(overview.models)
    routes = [(model, route) for model in overview.models for route in model.routes]
    yield _gauge(
        "calls_in_flight",
        "Calls on their way, by route.",
        [Sample(route.in_flight, _labels(model.model, route.route)) for model, route in routes],
    )
    yield _gauge(
        "circuit_state",
        "1 for the state that a route's circuit is in.",
        [
            Sample(int(route.circuit == state), {**_labels(model.model, route.route), "state": state})
            for model, route in routes
            for state in CIRCUIT_STATES
        ],
    )
    known = {(model.model, route.route) for model, route in routes}
    known |= {(model.model, NO_ROUTE) for model in overview.models} | {(NO_MODEL, NO_ROUTE)}
    yield from _counted({place: counted for place, counted in sorted(totals.items()) if place in known})


def _loads(models: Iterable[ModelLoad]) -> Iterator[Metric]:
    for limit_name, use_name, field, limit_help, use_help in LOADS:
        uses = [(model.model, getattr(model, field)) for model in models]
        limits = [Sample(use.limit, {"model": model}) for model, use in uses if use.limit is not None]
        yield _gauge(limit_name, limit_help, limits)
        yield _gauge(use_name, use_help, [Sample(use.used, {"model": model}) for model, use in uses])


def _counted(totals: Mapping[tuple[str, str], Counts]) -> Iterator[Metric]:
    ended = [
        Sample(counted[outcome], {**_labels(*place), "outcome": outcome})
        for place, counted in totals.items()
        for outcome in (counts.SUCCEEDED, counts.ABANDONED)
        if outcome in counted
    ]
    yield _counter("calls_served_total", "Calls that were served and billed, by how they ended.", ended)
    for name, prefix, meaning in (
        ("calls_failed_total", counts.FAILED, "Calls that failed for no fault of their caller's."),
        ("calls_refused_total", counts.REFUSED, "Calls that were turned away, for want of capacity or other reasons."),
        ("attempts_failed_total", counts.ATTEMPT_FAILED, "Attempts at a route before the caller heard a word."),
    ):
        samples = [
            Sample(count, {**_labels(*place), "code": code})
            for place, counted in totals.items()
            for code, count in sorted(counts.by_code(counted, prefix).items())
        ]
        yield _counter(name, meaning, samples)
    for name, measure, powers, scale, meaning in HISTOGRAMS:
        found = [_distribution(measure, counted, powers, scale, _labels(*place)) for place, counted in totals.items()]
        yield Metric(f"hypereal_{name}", "histogram", meaning, [each for each in found if each.count])


def _distribution(measure: Measure, counted: Counts, powers: range, scale: int, labels: Labels) -> Distribution:
    histogram = measure.histogram(counted)
    return Distribution(
        buckets=[((1 << power) / scale, below_power(histogram, power)) for power in powers],
        sum=counted.get(measure.of_sum, 0) / scale,
        count=sum(histogram.values()),
        labels=labels,
    )


def _labels(model_id: str, route_key: str) -> Labels:
    return {"model": model_id, "route": route_key}


def _gauge(name: str, meaning: str, samples: list[Sample]) -> Metric:
    return Metric(f"hypereal_{name}", "gauge", meaning, samples)


def _counter(name: str, meaning: str, samples: list[Sample]) -> Metric:
    return Metric(f"hypereal_{name}", "counter", meaning, samples)
