"""Governors on a Redis server of the tests' own, in time that moves only when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import redis

from apps.governor.store.redis.link import Link
from tests.faults.redis_server import RedisServer, has_redis, own_redis
from tests.governor.rig import FakeClock, Rig

MICRO = 1_000_000
LATE_S = 10.0
"""A test may wait longer for Redis than a caller does: this machine may be busy."""


class RedisClock(FakeClock):
    """Tells the scripts the time as well."""

    def told(self) -> str:
        return str(round(self.seconds * MICRO))


@dataclass
class RedisRig(Rig):
    """Governors of as many processes as a test wants, each with a link of its own. The rig's is the first."""

    links: list[Link] = field(default_factory=list)

    async def settle(self) -> None:
        """What was asked is answered, and what was answered is acted upon, until nothing more is asked."""
        quiet = 0
        while quiet < 3:
            asked = sum(link.asked for link in self.links)
            for _ in range(3):
                await asyncio.sleep(0)
            await asyncio.gather(*(link.command("PING") for link in self.links if link.is_up), return_exceptions=True)
            await asyncio.sleep(0)
            pings = sum(link.is_up for link in self.links)
            quiet = quiet + 1 if sum(link.asked for link in self.links) == asked + pings else 0

    async def close(self) -> None:
        await super().close()
        for link in self.links:
            await link.stop()


class RedisServerContract:
    """A server for a module's tests, flushed before each rig."""

    server: RedisServer

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def serve(cls) -> Iterator[None]:
        if not has_redis():
            pytest.skip("redis-server is not installed")
        with own_redis() as cls.server:
            yield

    def link(self, *, deadline_s: float = LATE_S) -> Link:
        """Not connected yet."""
        link = Link(self.server.url)
        link.deadline_s = deadline_s
        return link

    async def linked(self) -> Link:
        link = self.link()
        await link.start()
        return link

    def flush(self) -> None:
        with redis.Redis.from_url(self.server.url) as client:
            client.flushall()
