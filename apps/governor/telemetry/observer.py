"""One process's view of capacity: reports its own figures to the others, and adds theirs up when somebody looks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from redis.exceptions import RedisError

from apps.catalog.cache import CatalogCache
from apps.core import clock
from apps.governor.store.protocol import Governor
from apps.governor.telemetry import counts
from apps.governor.telemetry.board import Board, Totals
from apps.governor.telemetry.overview import ModelFacts, Overview, RouteFacts, make_overview
from apps.governor.telemetry.report import PathReport, Report, of_figures
from apps.governor.telemetry.tally import Telemetry
from apps.upstreams.cache import RouteCache

logger = logging.getLogger(__name__)

POST_S: Final = 0.5
"""How soon others know of a call that ended here; a viewer's process looks every second, so it shows within 1.5 s."""
RENEW_S: Final = 2.0
"""How often a process posts that has nothing new to tell."""
AWAY: Final = (RedisError, OSError, TimeoutError)


def catalog_facts(catalog: CatalogCache, routes: RouteCache) -> list[ModelFacts]:
    """Every enabled model with its enabled routes, the simulator where it has none."""
    return [
        ModelFacts(
            model.model_id,
            model.name,
            model.capacity,
            [
                RouteFacts(route.key, route.provider, route.upstream_model)
                for route in routes.of(model.model_id, dialects=model.dialects)
            ],
        )
        for model in catalog.all()
    ]


class Observer:
    """`board` None: this process is the installation."""

    def __init__(
        self,
        telemetry: Telemetry,
        governor: Governor,
        catalog: Callable[[], list[ModelFacts]],
        *,
        process: str,
        board: Board | None,
    ) -> None:
        self._telemetry = telemetry
        self._governor = governor
        self._catalog = catalog
        self._process = process
        self._board = board
        self._totals: Totals = {}
        """What the board had, when it last answered."""
        self._posting: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._board is not None:
            self._posting = asyncio.create_task(self._post_forever(self._board), name="telemetry")

    async def stop(self) -> None:
        """Hand the last counts on, and leave."""
        if self._posting is None or self._board is None:
            return
        self._posting.cancel()
        await asyncio.gather(self._posting, return_exceptions=True)
        try:
            await self._post(self._board, await self.report())
            await self._board.leave()
        except AWAY:
            logger.warning("the last counts of this process could not be handed on: Redis is away")
        await self._board.close()

    async def look(self) -> Overview:
        """Capacity of the installation, now; of this process, where the others cannot be asked."""
        reports, is_complete = [await self.report()], True
        if self._board is not None:
            try:
                reports += await self._board.others()
            except AWAY:
                is_complete = False
        # In a thread: with many busy routes it takes longer than a call should wait for the event loop.
        return await asyncio.to_thread(
            make_overview, reports, self._catalog(), is_complete=is_complete, taken_at=clock.now()
        )

    async def totals(self) -> Totals:
        """Counts since the first call, of the installation. They never shrink, but where Redis forgot them."""
        if self._board is not None:
            try:
                self._totals = await self._board.totals()
            except AWAY:
                pass  # what it had last, and what this process has counted since
        found = {place: dict(counted) for place, counted in self._totals.items()}
        for tally in self._telemetry.tallies():
            counts.add(found.setdefault((tally.model_id, tally.route_key), {}), tally.not_handed_on())
        return found

    async def report(self) -> Report:
        """What this process knows."""
        now = clock.monotonic()
        figures = await self._governor.figures()
        routes = [route.key for model in self._catalog() for route in model.routes]
        states = {key: self._governor.circuit(key) for key in routes}
        return Report(
            process=self._process,
            mode=self._governor.mode,
            is_shared=self._governor.is_shared,
            models={model_id: of_figures(each) for model_id, each in figures.items()},
            paths=[
                PathReport(
                    tally.model_id,
                    tally.route_key,
                    tally.in_flight,
                    tally.rolling.minute(now),
                    tally.rolling.five_minutes(now),
                )
                for tally in self._telemetry.tallies()
            ],
            circuits={key: state for key, state in states.items() if state != "closed"},
        )

    async def _post(self, board: Board, report: Report) -> None:
        fresh = [(tally, tally.not_handed_on()) for tally in self._telemetry.tallies()]
        await board.post(report, {(tally.model_id, tally.route_key): new for tally, new in fresh if new})
        for tally, new in fresh:
            tally.hand_on(new)

    async def _post_forever(self, board: Board) -> None:
        posted: Report | None = None
        posted_at, is_failing = 0.0, False
        while True:
            try:
                report = await self.report()
                if report != posted or clock.monotonic() - posted_at >= RENEW_S:
                    await self._post(board, report)
                    posted, posted_at, is_failing = report, clock.monotonic(), False
            except AWAY as error:
                if not is_failing:
                    logger.warning("capacity figures stay in this process: Redis is away (%s)", type(error).__name__)
                posted, is_failing = None, True
            except Exception:
                if not is_failing:
                    logger.exception("capacity figures could not be posted")
                posted, is_failing = None, True
            await asyncio.sleep(POST_S)
