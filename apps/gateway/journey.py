"""A call's way from route to route until one answers: the next route first, then the same again, within bounds.

Nothing is asked twice once the caller has heard a word of an answer.
"""

from __future__ import annotations

import asyncio
from typing import Final

from apps.core import clock
from apps.dialects.protocol import UnsupportedField
from apps.gateway import log
from apps.gateway.call import Call
from apps.gateway.circuits import report, tell_if_open
from apps.gateway.forward import Failed, Forwarded, attempt, write
from apps.gateway.permit import Permit
from apps.gateway.retries import MAX_ATTEMPTS, WORTH_WAITING_S
from apps.gateway.stores import Stores
from apps.gateway.ways import Way
from apps.upstreams.rules import RouteSnapshot, UpstreamFailed
from apps.usage.record import Record, clean

CIRCUIT_RETRY_S: Final = 5
MAX_NOTED: Final = 10
"""Routes whose circuit is open are noted too, and a model may have many."""


class Unheard(Exception):
    """An upstream that had answered failed before the caller heard a word of it: another may be asked."""

    def __init__(self, failure: UpstreamFailed) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Journey:
    """The attempts of one call. `next` returns the first upstream that answers; after `lost`, the one after that."""

    def __init__(self, call: Call, permit: Permit, *, max_tokens: int | None, record: Record, stores: Stores) -> None:
        self._call = call
        self._permit = permit
        self._max_tokens = max_tokens
        self._record = record
        self._stores = stores
        self._failure: UpstreamFailed | None = None
        self._attempts = 0
        self._last_key = ""
        self._repeated: dict[str, int] = {}
        self._again: list[tuple[float, RouteSnapshot]] = []
        """Routes that may be asked once more, and when."""
        now = clock.monotonic()
        self._ends_at = now + permit.routes[0].total_timeout_s
        stores.retries.count_call(permit.model.model_id, now)
        self._unasked = list(stores.retries.ordered(permit.routes, now))

    async def next(self) -> Forwarded:
        """Ask routes until one answers; the record names the one that was asked last.

        Raises: UpstreamFailed, where the caller is at fault, or nobody is left to ask.
        """
        while self._unasked and self._attempts < MAX_ATTEMPTS:
            forwarded = await self._ask(self._unasked.pop(0))
            if forwarded is not None:
                return forwarded
        while self._again and self._attempts < MAX_ATTEMPTS:
            self._again.sort(key=lambda turn: turn[0])
            ready_at, route = self._again.pop(0)
            now = clock.monotonic()
            if ready_at >= self._ends_at or not self._may_repeat(now):
                break
            await asyncio.sleep(max(0.0, ready_at - now))
            forwarded = await self._ask(route)
            if forwarded is not None:
                return forwarded
        assert self._failure is not None
        raise self._failure

    def lost(self, forwarded: Forwarded, failure: UpstreamFailed) -> None:
        """What answered broke before the caller heard of it; its circuit knows."""
        self._failure = failure
        if self._call.tally is not None:
            self._call.tally.fail_attempt(failure.code)
        self._note(forwarded.route, "broke off", forwarded.began_at)

    async def _ask(self, route: RouteSnapshot) -> Forwarded | None:
        """Ask a route, and at once again where only the connection was at fault. Raises: UpstreamFailed."""
        try:
            way, body = await write(self._permit, route, max_tokens=self._max_tokens)
        except UnsupportedField as refusal:
            self._failure = self._failure or UpstreamFailed(refusal.code, refusal.message, param=refusal.param)
            return None
        while True:
            failed = await self._try(way, body)
            if not isinstance(failed, Failed):
                return failed
            if not failed.at_once or self._repeated.get(route.key) or not self._may_repeat_now(route):
                break
        if failed.may_repeat and (failed.told_s is None or failed.told_s <= WORTH_WAITING_S):
            retries, repeats = self._stores.retries, self._repeated.get(route.key, 0)
            wait_s = retries.backoff_s(repeats) if failed.told_s is None else retries.jittered_s(failed.told_s)
            self._repeated[route.key] = repeats + 1
            self._again.append((clock.monotonic() + wait_s, route))
        return None

    async def _try(self, way: Way, body: bytes) -> Forwarded | Failed | None:
        """One attempt; None where the route's circuit keeps us away. Raises: UpstreamFailed."""
        route, stores, record = way.route, self._stores, self._record
        began_at = clock.monotonic()
        self._call.route_key = route.key
        if not await stores.governor.may_call(route.key):
            tell_if_open(stores, route, self._permit)
            model_id = self._permit.model.model_id
            self._failure = self._failure or UpstreamFailed(
                "circuit_open",
                f"{model_id} is failing upstream; its circuit is open.",
                retry_after_s=CIRCUIT_RETRY_S,
            )
            self._note(route, "circuit open", began_at)
            return None
        if self._last_key not in ("", route.key):
            stores.retries.failovers[self._permit.model.model_id] += 1
        self._attempts += 1
        self._last_key = route.key
        record.route_id, record.provider = route.route_id, route.provider
        tally = stores.telemetry.enter(self._permit.model.model_id, route.key, left=self._call.tally)
        self._call.tally = tally
        try:
            reply = await attempt(
                self._call, self._permit, way, body, max_tokens=self._max_tokens, ends_at=self._ends_at, stores=stores
            )
        except UpstreamFailed as mistake:
            # The caller's own mistake: the upstream is well.
            report(stores, route, self._permit, ok=True, began_at=began_at)
            self._note(route, str(mistake.status), began_at)
            raise
        except Failed as failed:
            report(stores, route, self._permit, ok=not failed.is_failure, began_at=began_at)
            if failed.told_s is not None:
                stores.retries.leave_alone(route.key, failed.told_s, clock.monotonic())
            self._failure = failed.failure
            tally.fail_attempt(failed.failure.code)
            self._note(route, failed.status, began_at)
            return failed
        finally:
            record.adapted = clean(", ".join(way.passage.adapted), "adapted") if way.passage.adapted else ""
        stores.retries.welcome(route.key)
        if record.attempts is not None:
            self._note(route, str(reply.status), began_at)
        return Forwarded(route, way.passage, reply, began_at, self._ends_at)

    def _may_repeat_now(self, route: RouteSnapshot) -> bool:
        """Whether to ask the same route again before any other: where that takes no attempt from one not asked yet."""
        now, left = clock.monotonic(), MAX_ATTEMPTS - self._attempts
        if left <= len(self._unasked) or now >= self._ends_at or not self._may_repeat(now):
            return False
        self._repeated[route.key] = 1
        return True

    def _may_repeat(self, now: float) -> bool:
        return self._stores.retries.may_repeat(self._permit.model.model_id, now)

    def _note(self, route: RouteSnapshot, status: str, began_at: float) -> None:
        """Write the attempt down: a record has none where the first route that was asked served the call."""
        ms = log.milliseconds(clock.monotonic() - began_at)
        noted = {"route": route.key, "provider": route.provider, "status": status, "ms": ms}
        self._record.attempts = [*(self._record.attempts or ()), noted][:MAX_NOTED]
