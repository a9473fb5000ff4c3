"""Where the processes of an installation post their reports, and add to counts that outlive them: Redis.

hypereal:telemetry:processes      set of process ids
hypereal:telemetry:process:ID     the report of one; gone within LIFE_S of its last sign of life
hypereal:telemetry:totals         hash of counts since the first call, by model, route and name
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

from redis.asyncio import Redis

from apps.governor.telemetry.counts import Counts
from apps.governor.telemetry.report import Report, decode, encode

PREFIX: Final = "hypereal:telemetry:"
PROCESSES: Final = f"{PREFIX}processes"
TOTALS: Final = f"{PREFIX}totals"
LIFE_S: Final = 5
TOTALS_LIFE_S: Final = 30 * 86_400
"""After the last call: routes that are gone for good leave no counts behind for ever."""
DEADLINE_S: Final = 1.0

Totals = dict[tuple[str, str], Counts]
"""By model and route."""


class Board:
    """Beside the hot path, so redis-py's client is fast enough.

    Every method raises RedisError, OSError or TimeoutError where Redis is away.
    """

    def __init__(self, url: str, process_id: uuid.UUID) -> None:
        self._redis: Any = Redis.from_url(url, socket_timeout=DEADLINE_S, socket_connect_timeout=DEADLINE_S)
        self._id = process_id.hex

    async def post(self, report: Report, fresh: Mapping[tuple[str, str], Counts]) -> None:
        """Post a report, and add what was counted since the last one: all of it or nothing."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(self._key(self._id), encode(report), ex=LIFE_S)
            pipe.sadd(PROCESSES, self._id)
            for (model_id, route_key), counted in fresh.items():
                for name, count in counted.items():
                    pipe.hincrby(TOTALS, f"{model_id}\n{route_key}\n{name}", count)
            if fresh:
                pipe.expire(TOTALS, TOTALS_LIFE_S)
            await pipe.execute()

    async def others(self) -> list[Report]:
        """The reports of all living processes but this one."""
        ids = [each.decode() for each in await self._redis.smembers(PROCESSES)]
        ids = [each for each in ids if each != self._id]
        if not ids:
            return []
        posted = await self._redis.mget([self._key(each) for each in ids])
        dead = [each for each, data in zip(ids, posted, strict=True) if data is None]
        if dead:
            # One that was only late puts itself down again with its next report.
            await self._redis.srem(PROCESSES, *dead)
        reports = [decode(data) for data in posted if data is not None]
        return [report for report in reports if report is not None]

    async def totals(self) -> Totals:
        found: Totals = {}
        for field, count in (await self._redis.hgetall(TOTALS)).items():
            model_id, route_key, name = field.decode().split("\n")
            found.setdefault((model_id, route_key), {})[name] = int(count)
        return found

    async def leave(self) -> None:
        """Take the report away: this process stops."""
        await self._redis.delete(self._key(self._id))
        await self._redis.srem(PROCESSES, self._id)

    async def close(self) -> None:
        await self._redis.aclose()

    @staticmethod
    def _key(process_id: str) -> str:
        return f"{PREFIX}process:{process_id}"
