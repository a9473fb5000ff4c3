"""What one process tells the others of itself, about once a second. Pure; JSON on the way."""

from __future__ import annotations

import msgspec

from apps.governor.store.protocol import ModelFigures
from apps.governor.telemetry.counts import Counts


class PathReport(msgspec.Struct, array_like=True):
    """One tally: calls on their way, and the counts of its minutes."""

    model_id: str
    route_key: str
    in_flight: int
    minute: Counts
    five_minutes: Counts


class ModelReport(msgspec.Struct, array_like=True):
    """A model's load, as the governor of the process knows it."""

    in_flight: int
    queued: int
    queued_tokens: int
    requests_in_minute: int
    tokens_in_minute: int
    images_in_minute: int


class Report(msgspec.Struct):
    process: str
    """Its name for people: host and pid."""
    mode: str
    """Its governor's: `active` or `degraded`."""
    is_shared: bool
    """Whether `models` is of all processes, or of this one alone."""
    models: dict[str, ModelReport]
    paths: list[PathReport]
    circuits: dict[str, str]
    """Routes whose circuit is not closed."""


_decoder = msgspec.json.Decoder(Report)


def encode(report: Report) -> bytes:
    return msgspec.json.encode(report)


def decode(data: bytes) -> Report | None:
    """None where it is no report: of another version, perhaps, while an installation is being renewed."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def of_figures(figures: ModelFigures) -> ModelReport:
    return ModelReport(
        figures.in_flight,
        figures.queued,
        figures.queued_tokens,
        figures.requests_in_minute,
        figures.tokens_in_minute,
        figures.images_in_minute,
    )


def merge_models(reports: list[Report]) -> dict[str, ModelReport]:
    """Load by model: the sum of what processes know of themselves alone, or what one of those knows that share it.

    Where both kinds report, because some have lost the shared store, the others' figures are the true ones.
    """
    sharing = [report for report in reports if report.is_shared]
    merged: dict[str, ModelReport] = {}
    for report in sharing or reports:
        for model_id, load in report.models.items():
            before = merged.get(model_id)
            if before is None or not sharing:
                merged[model_id] = load if before is None else _sum(before, load)
            else:
                # Read within a moment of each other: the busier one is not behind the other's last calls.
                merged[model_id] = max(before, load, key=lambda each: (each.in_flight, each.queued))
    return merged


def _sum(one: ModelReport, other: ModelReport) -> ModelReport:
    return ModelReport(
        one.in_flight + other.in_flight,
        one.queued + other.queued,
        one.queued_tokens + other.queued_tokens,
        one.requests_in_minute + other.requests_in_minute,
        one.tokens_in_minute + other.tokens_in_minute,
        one.images_in_minute + other.images_in_minute,
    )


_SEVERITY = {"open": 2, "half_open": 1}


def merge_circuits(reports: list[Report]) -> dict[str, str]:
    """Circuits that are not closed; where processes see one differently, the worse."""
    merged: dict[str, str] = {}
    for report in reports:
        for route_key, state in report.circuits.items():
            if _SEVERITY.get(state, 0) > _SEVERITY.get(merged.get(route_key, ""), 0):
                merged[route_key] = state
    return merged
