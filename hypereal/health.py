"""What this process says of itself: alive, ready, and figures in Prometheus' text format.

The wiring adds what it knows: `watch("committer", check)`, `publish("governor", source)`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from django.db import connection
from django.db.utils import Error as DatabaseError

ReadinessCheck = Callable[[], str | None]
"""Why this process cannot serve calls now, in a few words for anybody; None when it can."""

VERSION: Final = "0.1.0"
METRICS_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PROC: Final = Path("/proc/self")


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric, with its labels."""

    value: int | float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Distribution:
    """One histogram of a metric: how many values are at most each bound, their sum, how many there are at all."""

    buckets: Sequence[tuple[float, int]]
    """Bound and count, each counting what the ones before it count; the one without bound is added."""
    sum: int | float
    count: int
    labels: Mapping[str, str] = field(default_factory=dict)

    def samples(self, name: str) -> Iterable[tuple[str, Sample]]:
        for bound, count in self.buckets:
            yield f"{name}_bucket", Sample(count, {**self.labels, "le": f"{bound:g}"})
        yield f"{name}_bucket", Sample(self.count, {**self.labels, "le": "+Inf"})
        yield f"{name}_sum", Sample(self.sum, self.labels)
        yield f"{name}_count", Sample(self.count, self.labels)


@dataclass(frozen=True, slots=True)
class Metric:
    """One family. Names end in their unit, counters in `_total`; a histogram's samples are distributions."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Sequence[Sample | Distribution]


MetricSource = Callable[[], Iterable[Metric]]

_checks: dict[str, ReadinessCheck] = {}
_sources: dict[str, MetricSource] = {}


def watch(name: str, check: ReadinessCheck) -> None:
    """Ask `check` before calling this process ready. It runs in a thread, and must not block."""
    _checks[name] = check


def publish(name: str, source: MetricSource) -> None:
    """Add a source of figures. It runs in a thread, and may wait for what the event loop tells it, within seconds."""
    _sources[name] = source


def forget(name: str) -> None:
    """Drop the check and the source of that name."""
    _checks.pop(name, None)
    _sources.pop(name, None)


def obstacles() -> list[str]:
    """What keeps this process from serving calls: `["committer: its queue is full"]`. Empty when it is ready."""
    found = [] if _database_answers() else ["database: does not answer"]
    return found + [f"{name}: {why}" for name, check in _checks.items() if (why := check()) is not None]


def exposition(*, mode: str) -> str:
    """All figures of this process as Prometheus reads them. `mode`: `embedded` or `production`."""
    metrics = [*_process(mode), *(metric for source in _sources.values() for metric in source())]
    return "".join(render(metric) for metric in metrics)


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


def _process(mode: str) -> Iterable[Metric]:
    info = Sample(1, {"version": VERSION, "mode": mode, "pid": str(os.getpid())})
    yield Metric("hypereal_info", "gauge", "What runs here.", [info])
    yield Metric(
        "process_cpu_seconds_total", "counter", "User and system CPU of this process.", [Sample(time.process_time())]
    )
    if not PROC.exists():
        return
    resident_pages = int((PROC / "statm").read_text().split()[1])
    yield Metric(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory.",
        [Sample(resident_pages * os.sysconf("SC_PAGE_SIZE"))],
    )
    open_files = sum(1 for _ in (PROC / "fd").iterdir())
    yield Metric("process_open_fds", "gauge", "Open file descriptors.", [Sample(open_files)])


def render(metric: Metric) -> str:
    lines = [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
    for sample in metric.samples:
        named = [(metric.name, sample)] if isinstance(sample, Sample) else sample.samples(metric.name)
        lines += [f"{name}{_labels(each.labels)} {each.value}" for name, each in named]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
