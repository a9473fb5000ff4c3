"""Plugs one process together: stores, capacity, money, upstreams; opened at start, drained at stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
from collections.abc import Iterable
from functools import partial

from django.conf import settings
from django.db import close_old_connections, connection, connections

from apps.accounts.alerts import alert
from apps.accounts.cache import AccountCache
from apps.catalog.cache import CatalogCache
from apps.catalog.notices import keep_notice
from apps.core.ids import new_id
from apps.gateway.stores import POLL_S, Stores
from apps.governor.store.memory import MemoryGovernor
from apps.governor.store.redis.link import Link
from apps.governor.store.shared import SharedGovernor
from apps.governor.telemetry import here
from apps.governor.telemetry.board import Board, Totals
from apps.governor.telemetry.observer import Observer, catalog_facts
from apps.governor.telemetry.overview import Overview
from apps.insurance.payer import Payer
from apps.insurance.services import pay_due
from apps.keys.cache import KeyCache
from apps.ledger.committer import Committer
from apps.ledger.journal.journal import Journal
from apps.ledger.store.postgres import PostgresStore
from apps.ledger.store.protocol import LedgerStore
from apps.ledger.store.sqlite import SqliteStore
from apps.ledger.sweeper import sweep_all_but
from apps.upstreams.cache import RouteCache
from apps.upstreams.simulator import Simulator, SimulatorTransport
from apps.upstreams.transport.http import HttpTransport
from apps.upstreams.transport.switch import SwitchTransport
from hypereal import health
from hypereal.capacity_metrics import capacity_metrics
from hypereal.environment import Environment
from hypereal.scheduler import Scheduler

logger = logging.getLogger(__name__)


class Wiring:
    """What one process runs beside its socket. `start` before the first request, `stop` after the last."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._poll: asyncio.Task[None] | None = None
        self._scheduler = Scheduler()
        self._payer = Payer(
            pay=pay_due, tell=None if environment.is_embedded else _tell_worker, after=connections.close_all
        )
        process_id, journal_dir = new_id(), environment.journal_dir
        self._shared: SharedGovernor | None = None
        if environment.redis_url:
            self._shared = SharedGovernor(
                Link(environment.redis_url),
                process_id=process_id,
                live_processes=lambda: self.stores.ledger.live_processes,
            )
        name = f"{socket.gethostname()}:{os.getpid()}"
        self.stores = Stores(
            keys=KeyCache(),
            accounts=AccountCache(),
            catalog=CatalogCache(),
            routes=RouteCache(),
            governor=self._shared or MemoryGovernor(),
            ledger=Committer(
                _ledger_store(environment),
                process_id=process_id,
                name=name,
                journal=None if journal_dir is None else Journal(journal_dir, process_id),
            ),
            transport=SwitchTransport(simulator=SimulatorTransport(Simulator()), http=HttpTransport()),
            key_pepper=environment.key_pepper,
            after_look=close_old_connections,
            after_last_look=connections.close_all,
            keep_notice=keep_notice,
            keep_alert=_keep_alert,
            claims_due=self._payer.note,
        )
        self._observer = Observer(
            self.stores.telemetry,
            self.stores.governor,
            partial(catalog_facts, self.stores.catalog, self.stores.routes),
            process=name,
            board=None if environment.is_embedded else Board(environment.redis_url, process_id),
        )

    def _why_not_ready(self) -> str | None:
        return None if self.stores.ledger.is_ready else "the ledger's store is away"

    def _ledger_figures(self) -> Iterable[health.Metric]:
        yield health.Metric(
            "hypereal_ledger_journal_pending",
            "gauge",
            "Settlements on disk that the store does not have yet.",
            [health.Sample(self.stores.ledger.journalled)],
        )

    def _governor_figures(self) -> Iterable[health.Metric]:
        governor = self._shared
        if governor is None:
            return
        yield health.Metric(
            "hypereal_governor_degraded",
            "gauge",
            "1 while Redis is away, and this process keeps to its own share of every limit.",
            [health.Sample(int(governor.mode != "active"))],
        )
        admitted = {"shared": governor.admitted.shared, "own": governor.admitted.own}
        yield health.Metric(
            "hypereal_governor_admissions_total",
            "counter",
            "Calls admitted by limits shared in Redis, and by this process's own share.",
            [health.Sample(count, {"limits": kind}) for kind, count in admitted.items()],
        )

    def _upstream_figures(self) -> Iterable[health.Metric]:
        retries = self.stores.retries
        for name, meaning, counts in (
            ("repeats", "Calls for which the same upstream was asked again.", retries.repeats),
            ("failovers", "Calls for which another upstream was asked.", retries.failovers),
            ("repeats_refused", "Repeats for which the budget had nothing left.", retries.refused),
        ):
            samples = [health.Sample(count, {"model": model_id}) for model_id, count in sorted(counts.items())]
            yield health.Metric(f"hypereal_upstream_{name}_total", "counter", meaning, samples)

    def _capacity_figures(self) -> Iterable[health.Metric]:
        overview, totals = here.ask(_look_and_total(self._observer))
        return capacity_metrics(overview, totals)

    async def start(self) -> None:
        """Open pools, load snapshots, start the committer. Raises: StoreUnavailable, JournalFailed."""
        await self.stores.transport.open()
        await self.stores.look()
        await self.stores.ledger.start()
        if self._shared is not None:
            await self._shared.start()
        if self._environment.is_embedded:
            # The server's lock on the data directory proves that every other process is gone. What it left in its
            # journal is settled by now, by holds that were still open.
            await asyncio.to_thread(_sweep_embedded, self.stores.ledger)
            self._scheduler.start()
        self._payer.start()
        self._poll = asyncio.create_task(self._poll_forever(), name="snapshots")
        health.watch("ledger", self._why_not_ready)
        health.publish("ledger", self._ledger_figures)
        health.publish("governor", self._governor_figures)
        health.publish("upstreams", self._upstream_figures)
        health.publish("capacity", self._capacity_figures)
        here.set_observer(self._observer)
        self._observer.start()
        # Everything made so far lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()

    async def stop(self) -> None:
        """Let calls that were cancelled end, commit what is queued, close what is open."""
        await self.stores.until_quiet()
        here.forget_observer()
        await self._observer.stop()
        if self._poll is not None:
            self._poll.cancel()
            await asyncio.gather(self._poll, return_exceptions=True)
        await asyncio.to_thread(self._payer.stop)
        if self._environment.is_embedded:
            await asyncio.to_thread(self._scheduler.stop)
        if self._shared is not None:
            await self._shared.stop()
        await self.stores.ledger.stop()
        await self.stores.transport.close()
        self.stores.close()

    async def _poll_forever(self) -> None:
        is_failing = False
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.stores.look()
                is_failing = False
            except Exception:
                if not is_failing:
                    logger.exception("snapshots could not be refreshed; the last ones stay in use")
                is_failing = True


async def _look_and_total(observer: Observer) -> tuple[Overview, Totals]:
    return await observer.look(), await observer.totals()


def _keep_alert(kind: str, subject: str, message: str, times: int) -> None:
    alert(kind=kind, subject=subject, message=message, times=times)


def _tell_worker() -> None:
    # Celery is a worker's and beat's: a web process loads it when there is something to tell, and not before.
    from hypereal.celery import send

    send("insurance.pay_due", queue="money")


def _ledger_store(environment: Environment) -> LedgerStore:
    if environment.is_embedded:
        return SqliteStore(settings.DATABASES["default"]["NAME"])
    return PostgresStore(environment.database_url)


def _sweep_embedded(ledger: Committer) -> None:
    try:
        expired = sweep_all_but(ledger.process_id)
        if expired:
            logger.warning("gave back %d holds that the last server left behind", expired)
    finally:
        connection.close()
