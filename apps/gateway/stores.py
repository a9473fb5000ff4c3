"""Everything the hot path reaches, in one place: made by the wiring, handed to every call."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, TypeVar

from apps.accounts.cache import AccountCache, SnapshotCache, refresh
from apps.catalog.cache import CatalogCache
from apps.core import clock
from apps.gateway.alerts import Alerts, TellAlert
from apps.gateway.count_limit import CountLimit
from apps.gateway.counting import Counter
from apps.gateway.notices import Notices, Tell
from apps.gateway.refusals import RefusalLog
from apps.gateway.retries import Retries
from apps.gateway.standing import Standing
from apps.gateway.vetted import Vetted
from apps.governor.store.protocol import Governor
from apps.governor.telemetry.tally import Telemetry
from apps.keys.cache import KeyCache
from apps.ledger.committer import Committer
from apps.upstreams.cache import RouteCache
from apps.upstreams.transport.protocol import Transport

logger = logging.getLogger(__name__)

T = TypeVar("T")

POLL_S: Final = 0.5
QUIET_S: Final = 2.0
QUIET_LOOK_S: Final = 0.02
LOOK_AGAIN_S: Final = 0.1
"""An unknown key makes us look at the database at most this often, however many strangers knock."""


@dataclass(slots=True)
class Stores:
    """Snapshots, capacity, money and upstreams of one process."""

    keys: KeyCache
    accounts: AccountCache
    catalog: CatalogCache
    routes: RouteCache
    governor: Governor
    ledger: Committer
    transport: Transport
    key_pepper: str
    after_look: Callable[[], None]
    """Runs in the snapshots' thread after each look: gives back what the database client keeps per thread."""
    after_last_look: Callable[[], None]
    keep_notice: Tell
    """Writes down a name that nobody knew yet; runs in the snapshots' thread."""
    keep_alert: TellAlert
    """Writes down what operators should see to; runs in the snapshots' thread."""
    claims_due: Callable[[], None]
    """Tells whoever pays that insurance owes something for a stream; returns at once."""
    draws: random.Random = field(default_factory=random.Random)
    refusals: RefusalLog = field(default_factory=RefusalLog)
    standing: Standing = field(default_factory=Standing)
    vetted: Vetted = field(default_factory=Vetted)
    counter: Counter = field(default_factory=Counter)
    notices: Notices = field(init=False)
    alerts: Alerts = field(init=False)
    retries: Retries = field(default_factory=Retries)
    telemetry: Telemetry = field(default_factory=Telemetry)
    calls: int = 0
    """Calls under way."""
    counts: CountLimit = field(default_factory=CountLimit)
    counting: int = 0
    """Counts of tokens that upstreams are asked for."""
    draining: int = 0
    """Streams that are read on after their caller left."""
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=1, thread_name_prefix="snapshots")
    )
    _looked_at: float = -1.0
    _next_look: asyncio.Task[None] | None = None
    """A look that has not begun yet, so that it will see what is committed now."""

    def __post_init__(self) -> None:
        self.notices = Notices(lambda *facts: self._keep(self.keep_notice, *facts))
        self.alerts = Alerts(lambda *facts: self._keep(self.keep_alert, *facts))

    def _keep(self, keep: Callable[..., object], *facts: object) -> None:
        """Have something written down for operators, without waiting for it."""

        def run() -> None:
            try:
                keep(*facts)
            except Exception:
                # Whatever the driver calls it: the log has told it already.
                logger.exception("something for operators could not be kept: %s", facts)
            finally:
                self.after_look()

        self._thread.submit(run)

    @property
    def caches(self) -> list[SnapshotCache]:
        # Routes and accounts before keys: whoever sees a key sees what it belongs to.
        return [self.catalog, self.routes, self.accounts, self.keys]

    async def look(self) -> None:
        """Bring the snapshots up to date, in a thread."""
        self._looked_at = clock.monotonic()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._refresh)

    def _refresh(self) -> None:
        try:
            refresh(self.caches)
        finally:
            self.after_look()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Let the snapshots' thread, which may use the database, do something else."""

        def run() -> T:
            try:
                return work()
            finally:
                self.after_look()

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    async def look_again(self) -> None:
        """See what was committed before this call: everybody who asks meanwhile shares one look."""
        if self._next_look is None:
            self._next_look = asyncio.create_task(self._look_soon())
        await asyncio.shield(self._next_look)

    async def _look_soon(self) -> None:
        await asyncio.sleep(self._looked_at + LOOK_AGAIN_S - clock.monotonic())
        self._next_look = None
        await self.look()

    async def until_quiet(self) -> None:
        """Return when no call is under way any more, after QUIET_S at the latest."""
        for _ in range(int(QUIET_S / QUIET_LOOK_S)):
            if not self.calls:
                return
            await asyncio.sleep(QUIET_LOOK_S)

    def close(self) -> None:
        self._thread.submit(self.after_last_look)
        self._thread.shutdown(wait=True)
        self.counter.close()
