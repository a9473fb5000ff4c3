"""Deadlines that share one timer."""

from __future__ import annotations

import asyncio

import pytest

from apps.gateway import patience
from apps.gateway.patience import Patience


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LOOK_S", 0.01)


async def test_a_wait_that_ends_in_time_is_left_alone() -> None:
    with Patience(5):
        assert await asyncio.sleep(0.03, "done") == "done"


async def test_a_wait_that_lasts_too_long_becomes_a_timeout() -> None:
    with pytest.raises(TimeoutError), Patience(0.02):
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_only_the_late_one_of_many_ends() -> None:
    async def wait(patience_s: float, wait_s: float) -> str:
        with Patience(patience_s):
            return await asyncio.sleep(wait_s, "done")

    outcomes = await asyncio.gather(
        *(wait(0.02, 5) if late else wait(5, 0.1) for late in (True, False, True, False)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [TimeoutError, str, TimeoutError, str]


async def test_somebody_elses_cancellation_stays_one() -> None:
    async def wait() -> None:
        with Patience(5):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_nobody_looks_when_nobody_waits() -> None:
    with Patience(5):
        pass
    await asyncio.sleep(0.03)
    assert patience._current is not None
    assert not patience._current._is_looking
