"""Calls to be counted, made up by a test."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from apps.core.ids import new_id
from apps.governor.telemetry.overview import ModelFacts, RouteFacts
from apps.governor.telemetry.tally import Telemetry
from apps.usage.record import Record
from tests.governor.rig import MODEL, capacity

NOON = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
ROUTES = [RouteFacts("r1", "first", "theirs"), RouteFacts("r2", "second", "theirs")]
CATALOG = [ModelFacts(MODEL, "GPT-5.5", capacity(), ROUTES)]


def record(**fields: Any) -> Record:
    """How a call ended: succeeded, unless `fields` say otherwise."""
    values: dict[str, Any] = {
        "request_id": new_id(),
        "account_id": new_id(),
        "key_id": new_id(),
        "model_id": MODEL,
        "endpoint": "chat",
        "is_stream": False,
        "received_at": NOON,
        "status": "succeeded",
        "http_status": 200,
        "latency_ms": 500,
        "first_byte_ms": 500,
        "output_tokens": 100,
    }
    return Record(**{**values, **fields})


def served(telemetry: Telemetry, route: str = "r1", **fields: Any) -> None:
    """One call that went to a route and ended there."""
    telemetry.end(record(**fields), telemetry.enter(MODEL, route, left=None))
