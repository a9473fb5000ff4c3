from __future__ import annotations

import asyncio
import uuid

from apps.governor.rules import Load
from apps.governor.store.queue import Waiter, WaitQueue
from tests.governor.rig import ALICE, BOB, ask


def waiter(who: uuid.UUID, *, tokens: int = 100, since: float = 0.0) -> Waiter:
    return Waiter(ask(who, tokens=tokens), (), since, asyncio.get_running_loop().create_future())


async def test_it_knows_the_load_of_all_and_of_each() -> None:
    queue, first = WaitQueue(), waiter(ALICE, tokens=100)
    queue.join(first)
    queue.join(waiter(ALICE, tokens=20))
    queue.join(waiter(BOB, tokens=3))
    assert (queue.load, queue.load_of(ALICE), queue.load_of(BOB)) == (Load(3, 123), Load(2, 120), Load(1, 3))
    queue.leave(first)
    queue.leave(first)
    assert (queue.load, queue.load_of(ALICE)) == (Load(2, 23), Load(1, 20))


async def test_who_has_left_is_forgotten() -> None:
    queue = WaitQueue()
    queue.join(waiter(ALICE))
    queue.take_next()
    assert (queue.load, queue.oldest(), queue._by_account) == (Load(), None, {})


async def test_the_oldest_of_all_and_of_an_account() -> None:
    queue, first, second = WaitQueue(), waiter(ALICE), waiter(BOB, since=1.5)
    queue.join(first)
    queue.join(second)
    assert (queue.oldest(), queue.oldest(BOB)) == (first, second)
    assert second.deadline == 6.5


async def test_the_next_is_the_first_who_still_waits() -> None:
    queue, cancelled, second = WaitQueue(), waiter(ALICE), waiter(BOB)
    queue.join(cancelled)
    queue.join(second)
    cancelled.turn.cancel()
    assert (queue.take_next(), queue.take_next(), queue.load) == (second, None, Load())
