"""The governor of several processes: as good as any while Redis is there, and within its share while it is not."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from apps.governor.store.protocol import Governor, Shed
from apps.governor.store.redis.link import Link
from apps.governor.store.shared import SharedGovernor, share_of
from tests.faults.redis_server import RedisServer, has_redis, own_redis
from tests.governor.contract import GovernorContract
from tests.governor.redis_rig import LATE_S, RedisClock, RedisRig, RedisServerContract
from tests.governor.rig import ALICE, BOB, CHARLIE, MODEL, Rig, ask, capacity


def governor_of(link: Link, time: RedisClock, *, number: int = 1, processes: int = 2) -> SharedGovernor:
    return SharedGovernor(
        link,
        process_id=uuid.UUID(int=number),
        live_processes=lambda: processes,
        monotonic=time.monotonic,
        now=time.now,
        call_later=time.call_later,
        told_time=time.told,
    )


class TestSharedGovernor(RedisServerContract, GovernorContract):
    async def make_rig(self) -> Rig:
        self.flush()
        time, link = RedisClock(), Link(self.server.url)
        link.deadline_s = LATE_S
        governor = governor_of(link, time)
        await governor.start()
        return RedisRig(governor=governor, clock=time, links=[link])


class DegradedRig(RedisRig):
    """All it knows is that Redis is away, and that it is alone."""


class TestSharedGovernorWithoutRedis(GovernorContract):
    async def make_rig(self) -> Rig:
        time, link = RedisClock(), Link("redis://127.0.0.1:1/0")
        governor = governor_of(link, time, processes=1)
        return DegradedRig(governor=AsIfActive(governor), clock=time)


class AsIfActive:
    """The contract asks for `active`; without Redis the shared governor says `degraded`, and that alone differs."""

    mode, is_shared = "active", False

    def __init__(self, governor: SharedGovernor) -> None:
        assert governor.mode == "degraded"
        self.admit, self.finish, self.figures = governor.admit, governor.finish, governor.figures
        self.circuit, self.may_call, self.report = governor.circuit, governor.may_call, governor.report


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    if not has_redis():
        pytest.skip("redis-server is not installed")
    with own_redis() as server:
        yield server


@pytest.fixture
async def governor(server: RedisServer) -> AsyncIterator[SharedGovernor]:
    """In real time."""
    server.flush()
    governor = SharedGovernor(Link(server.url), process_id=uuid.UUID(int=1), live_processes=lambda: 2)
    await governor.start()
    yield governor
    await governor.stop()


async def until_mode(governor: SharedGovernor, mode: str) -> None:
    async with asyncio.timeout(10):
        while governor.mode != mode:  # noqa: ASYNC110  # what happens is in another process
            await asyncio.sleep(0.01)


def test_it_is_a_governor() -> None:
    governor: Governor = SharedGovernor(
        Link("redis://127.0.0.1:1/0"), process_id=uuid.UUID(int=1), live_processes=lambda: 1
    )
    assert governor.mode == "degraded"


async def test_without_redis_each_process_has_its_share(governor: SharedGovernor, server: RedisServer) -> None:
    policy = capacity(concurrency=4, rpm=10, queue_s=0)
    server.kill()
    try:
        await until_mode(governor, "degraded")
        for _ in range(2):
            admission = await governor.admit(ask(limits=policy))
        assert (admission.concurrency_remaining, admission.rpm_remaining) == (0, 3)
        with pytest.raises(Shed) as refused:
            await governor.admit(ask(limits=policy))
        assert refused.value.facts is not None
        assert (refused.value.code, refused.value.facts.value) == ("queue_full", 2)
        assert governor.admitted.own == 2
    finally:
        server.start()
    await until_mode(governor, "active")


async def test_what_began_without_redis_is_known_to_it_afterwards(
    governor: SharedGovernor, server: RedisServer
) -> None:
    policy = capacity(concurrency=4, queue_s=0)
    before = await governor.admit(ask(limits=policy))
    server.kill()
    await until_mode(governor, "degraded")
    during = await governor.admit(ask(limits=policy))
    server.start()
    await until_mode(governor, "active")
    after = await governor.admit(ask(limits=policy))
    assert after.concurrency_remaining == 1
    for admission in (before, during, after):
        governor.finish(admission, tokens=100)
        governor.finish(admission, tokens=100)
    assert (await governor.figures())[MODEL].in_flight == 0


async def test_who_waits_in_redis_goes_on_waiting_here(governor: SharedGovernor, server: RedisServer) -> None:
    policy = capacity(concurrency=2, queue_s=5)
    slots = [await governor.admit(ask(who, limits=policy)) for who in (ALICE, BOB)]
    waiting = asyncio.ensure_future(governor.admit(ask(CHARLIE, limits=policy)))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    server.kill()
    try:
        admission = await asyncio.wait_for(waiting, timeout=5)
        assert (governor.admitted.shared, governor.admitted.own) == (2, 1)
        governor.finish(admission, tokens=1)
    finally:
        server.start()
    await until_mode(governor, "active")
    for slot in slots:
        governor.finish(slot, tokens=1)


async def test_a_server_that_pauses_delays_nobody_for_long(governor: SharedGovernor, server: RedisServer) -> None:
    loop = asyncio.get_running_loop()
    server.pause(1_000)
    began_at = loop.time()
    admission = await governor.admit(ask())
    assert loop.time() - began_at < 0.7
    assert (governor.mode, governor.admitted.own) == ("degraded", 1)
    governor.finish(admission, tokens=1)
    await until_mode(governor, "active")
    await governor.admit(ask())
    assert governor.admitted.shared == 1


async def test_what_began_in_a_pause_is_known_to_redis_afterwards(
    governor: SharedGovernor, server: RedisServer
) -> None:
    server.pause(500)
    during = await governor.admit(ask())
    assert governor.admitted.own == 1
    await until_mode(governor, "active")
    await asyncio.sleep(1.25)
    assert (await governor.figures())[MODEL].in_flight == 1
    governor.finish(during, tokens=1)
    assert (await governor.figures())[MODEL].in_flight == 0


def test_shares() -> None:
    policy = capacity(concurrency=5, rpm=100, tpm=7, ipm=1, queue_length=3, queue_tokens=10)
    assert share_of(policy, 2) == capacity(concurrency=2, rpm=50, tpm=3, ipm=1, queue_length=2, queue_tokens=5)
    assert share_of(policy, 2) is share_of(policy, 2)
    assert share_of(capacity(queue_s=0, queue_length=0), 3).queue_length == 0
