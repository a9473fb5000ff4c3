from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from apps.console.capacity import live
from apps.console.capacity.live import Viewers
from apps.governor.store.memory import MemoryGovernor
from apps.governor.telemetry import here
from apps.governor.telemetry.observer import Observer
from apps.governor.telemetry.overview import ModelFacts, Overview
from apps.governor.telemetry.tally import Telemetry
from tests.governor.rig import MODEL, capacity
from tests.governor.telemetry.rig import CATALOG, served

OTHER = ModelFacts("kimi-latest", "Kimi", capacity(), [])


class CountedLooks(Observer):
    looks = 0

    async def look(self) -> Overview:
        self.looks += 1
        return await super().look()


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
async def observer(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> CountedLooks:
    monkeypatch.setattr(live, "GATHER_S", 0.05)
    monkeypatch.setattr(live, "QUIET_S", 0.2)
    observer = CountedLooks(telemetry, MemoryGovernor(), lambda: [*CATALOG, OTHER], process="web", board=None)
    here.set_observer(observer)
    return observer


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    here.forget_observer()


@pytest.fixture
def viewers(observer: CountedLooks) -> Viewers:
    return Viewers()


async def told(outbox: live.Outbox | None) -> Any:
    assert outbox is not None
    async with asyncio.timeout(5):
        message = await outbox.get()
    return None if message is None else json.loads(message)


async def test_first_all_then_what_changed_then_that_nothing_did(viewers: Viewers, telemetry: Telemetry) -> None:
    outbox = viewers.join()
    assert outbox is not None
    first = await told(outbox)
    assert (first["kind"], [model["model"] for model in first["capacity"]["models"]]) == ("all", [MODEL, "kimi-latest"])
    served(telemetry)
    changed = await told(outbox)
    assert (changed["kind"], [model["model"] for model in changed["capacity"]["models"]]) == ("changes", [MODEL])
    assert changed["capacity"]["models"][0]["minute"]["calls"] == changed["capacity"]["minute"]["calls"] == 1
    assert await told(outbox) == {"kind": "same"}
    viewers.leave(outbox)


async def test_nobody_looks_and_nothing_is_gathered(viewers: Viewers, observer: CountedLooks) -> None:
    first, second = viewers.join(), viewers.join()
    assert first is not None
    assert second is not None
    await told(first)
    looks = observer.looks
    assert looks == 1  # for both
    assert (await told(second))["kind"] == "all"
    viewers.leave(first)
    assert viewers.is_gathering
    viewers.leave(second)
    looks = observer.looks
    await asyncio.sleep(0.2)
    assert (viewers.is_gathering, observer.looks) == (False, looks)


async def test_who_comes_later_gets_all_of_it_at_once(viewers: Viewers) -> None:
    first = viewers.join()
    assert first is not None
    await told(first)
    later = viewers.join()
    assert later is not None
    assert later.qsize() == 1
    assert (await told(later))["kind"] == "all"
    for outbox in (first, later):
        viewers.leave(outbox)


async def test_there_is_room_for_so_many(viewers: Viewers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_VIEWERS", 1)
    outbox = viewers.join()
    assert outbox is not None
    assert viewers.join() is None
    viewers.leave(outbox)
    again = viewers.join()
    assert again is not None
    viewers.leave(again)


async def test_who_takes_nothing_is_told_to_come_back(
    viewers: Viewers, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_BEHIND", 2)
    outbox = viewers.join()
    assert outbox is not None
    while outbox.qsize() < 3:
        served(telemetry)
        await asyncio.sleep(0.02)
    kinds = [await told(outbox) for _ in range(3)]
    assert (kinds[0]["kind"], kinds[2]) == ("all", None)
    viewers.leave(outbox)


async def test_a_failure_to_gather_passes(
    viewers: Viewers, observer: CountedLooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = [True, True, False]

    async def look() -> Overview:
        if fails.pop(0) if len(fails) > 1 else fails[0]:
            raise RuntimeError("for a moment")
        return await Observer.look(observer)

    monkeypatch.setattr(observer, "look", look)
    outbox = viewers.join()
    assert outbox is not None
    assert (await told(outbox))["kind"] == "all"
    viewers.leave(outbox)
