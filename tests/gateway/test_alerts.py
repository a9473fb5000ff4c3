"""What a process tells operators: the first at once, what follows counted."""

from __future__ import annotations

import asyncio

import pytest

from apps.gateway import alerts as module
from apps.gateway.alerts import MAX_SUBJECTS, Alerts


async def test_repeats_are_counted_and_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TELL_S", 0.05)
    told: list[tuple[str, str, str, int]] = []
    alerts = Alerts(lambda *facts: told.append(facts))
    for number in range(5):
        alerts.tell("refuses", "route a", f"words {number}")
    alerts.tell("refuses", "route b", "words")
    assert told == [("refuses", "route a", "words 0", 1), ("refuses", "route b", "words", 1)]
    await asyncio.sleep(0.08)
    assert told[2:] == [("refuses", "route a", "words 4", 4)]
    await asyncio.sleep(0.08)
    alerts.tell("refuses", "route a", "again")
    assert told[3:] == [("refuses", "route a", "again", 1)]


async def test_subjects_are_bounded() -> None:
    told: list[tuple[str, str, str, int]] = []
    alerts = Alerts(lambda *facts: told.append(facts))
    for number in range(MAX_SUBJECTS + 5):
        alerts.tell("refuses", f"route {number}", "words")
    assert len(told) == MAX_SUBJECTS
