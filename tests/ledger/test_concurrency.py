"""Many calls at once on the real store: what one account can pay for is served, and nothing more."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection, connections

from apps.core import clock
from apps.core.ids import new_id
from apps.core.money import Credits
from apps.ledger import committer as module
from apps.ledger import lane, services
from apps.ledger.committer import Committer
from apps.ledger.models import Hold as HoldRow
from apps.ledger.models import ProcessLease
from apps.ledger.operations import Granted, Guard, Hold, HoldRefused
from apps.ledger.rules import DAILY, HOURLY, LIFETIME
from apps.ledger.verify import verify_ledger
from apps.usage.models import UsageRecord
from tests.ledger.contract import (
    Clock,
    Payer,
    backend_store,
    entries,
    keep_clear_of_the_hours_end,
    open_payer,
    purse,
    windows,
)

PRICE = 20
AFFORDABLE, ASKED = 50, 200


def processes() -> list[Committer]:
    """As many gateway processes as the backend serves: each has a committer and a connection of its own."""
    count = 2 if connection.vendor == "postgresql" else 1
    return [Committer(backend_store(), process_id=new_id(), name=f"process {place}") for place in range(count)]


async def call(committer: Committer, payer: Payer, asked: Hold, *, charge: int | None) -> bool:
    """One call from hold to settlement, or to its release where `charge` is None; tell whether it was served."""
    asked.process_id = committer.process_id
    try:
        granted = await committer.hold(asked)
    except HoldRefused as refusal:
        assert refusal.code in {"insufficient_credits", "credits_reserved"} or "exhausted" in refusal.code
        return False
    await asyncio.sleep(random.uniform(0, 0.01))
    if charge is None:
        committer.record(payer.release(asked))
        return False
    await committer.settle(payer.settle(asked, charge, windows=granted.windows))
    return True


def serve(calls: list[tuple[Payer, Hold, int | None]]) -> int:
    """Make the calls at once, spread over the processes; return how many were served."""

    async def main() -> int:
        committers = processes()
        for committer in committers:
            await committer.start()
        try:
            running: list[Coroutine[Any, Any, bool]] = [
                call(committers[place % len(committers)], payer, asked, charge=charge)
                for place, (payer, asked, charge) in enumerate(calls)
            ]
            return sum(await asyncio.gather(*running))
        finally:
            for committer in committers:
                await committer.stop()

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def brief_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARKED_POLL_S", 0.05)
    monkeypatch.setattr(lane, "HOLD_PATIENCE_S", 30.0)


@pytest.fixture
def payer(ledger_db: None, monkeypatch: pytest.MonkeyPatch) -> Payer:
    """An account that can pay for fifty calls. No window turns, and request ids agree with the store's clock."""
    if connection.vendor == "postgresql":
        keep_clear_of_the_hours_end()
    else:
        monkeypatch.setattr(clock, "now", Clock(datetime.now(UTC)).now)
    return open_payer("alice", credits_micro=AFFORDABLE * PRICE)


def test_an_account_is_served_exactly_what_it_can_pay_for(payer: Payer) -> None:
    served = serve([(payer, payer.hold(PRICE), PRICE) for _ in range(ASKED)])
    assert served == AFFORDABLE
    assert purse(payer) == (0, 0)
    assert len(entries(payer)) == AFFORDABLE + 1
    assert (HoldRow.objects.count(), UsageRecord.objects.count(), ProcessLease.objects.count()) == (0, AFFORDABLE, 0)
    assert verify_ledger().problems == []


def test_calls_that_end_cheaper_or_fail_make_room_for_those_that_wait(payer: Payer) -> None:
    """Each holds a fifth of the balance, costs a fiftieth, and every other one fails: all find their turn."""
    calls = [(payer, payer.hold(10 * PRICE), PRICE if place % 2 else None) for place in range(80)]
    assert serve(calls) == 40
    assert purse(payer) == (10 * PRICE, 0)
    assert HoldRow.objects.count() == 0
    assert verify_ledger().problems == []


@pytest.mark.parametrize("period", [LIFETIME, DAILY, HOURLY])
def test_a_budget_is_never_exceeded_by_several_keys_at_once(payer: Payer, period: str) -> None:
    budget = Guard("account", period, 30 * PRICE, "account_budget_exhausted")
    served = serve([(payer, payer.hold(PRICE, guards=(budget,)), PRICE) for _ in range(100)])
    assert served == 30
    assert windows(payer) == {("account", period): (30 * PRICE, 0)}
    assert purse(payer) == (20 * PRICE, 0)
    assert verify_ledger().problems == []


@pytest.mark.parametrize("period", [LIFETIME, DAILY, HOURLY])
def test_a_limit_that_not_every_process_knows_of_yet_counts_every_call(payer: Payer, period: str) -> None:
    """It is set while calls run: some were taken before it, some are taken by a process with an older snapshot."""
    guard = Guard(f"key:{payer.key_id}", period, 30 * PRICE, "key_budget_exhausted")
    calls: list[tuple[Payer, Hold, int | None]] = [
        (payer, payer.hold(PRICE, guards=(guard,) if place > 20 and place % 3 else ()), PRICE) for place in range(90)
    ]
    served = serve(calls)
    assert served >= 30
    assert windows(payer) == {(guard.scope, period): (served * PRICE, 0)}
    assert purse(payer) == ((AFFORDABLE - served) * PRICE, 0)
    late = [(payer, payer.hold(PRICE, guards=(guard,)), PRICE) for _ in range(3)]
    assert serve([*late]) == 0
    assert verify_ledger().problems == []


def test_calls_that_cost_more_than_their_holds_never_overdraw(payer: Payer) -> None:
    served = serve([(payer, payer.hold(3 * PRICE, least=PRICE), 2 * PRICE) for _ in range(100)])
    balance, held = purse(payer)
    charged = sum(entry[2] for entry in entries(payer) if entry[1] == "charge")
    absorbed = sum(entry[2] for entry in entries(payer) if entry[1] == "absorbed")
    assert held == 0
    assert balance == AFFORDABLE * PRICE - charged >= 0
    assert charged + absorbed == served * 2 * PRICE
    assert verify_ledger().problems == []


def test_many_accounts_in_all_orders_do_not_wait_on_each_other(ledger_db: None) -> None:
    payers = [open_payer(f"account {place}", credits_micro=10 * PRICE) for place in range(12)]
    calls: list[tuple[Payer, Hold, int | None]] = [
        (payer, payer.hold(PRICE), PRICE) for _ in range(15) for payer in random.sample(payers, len(payers))
    ]
    assert serve(calls) == 120
    assert [purse(payer) for payer in payers] == [(0, 0)] * 12
    assert verify_ledger().problems == []


def test_top_ups_beside_running_calls_are_all_there_afterwards(payer: Payer) -> None:
    """Commands and the admin write the same balance from connections of their own."""

    def top_up(place: int) -> None:
        try:
            services.top_up(
                account_id=payer.account_id, amount=Credits(PRICE), reference=f"invoice {place}", actor="tests"
            )
        finally:
            connections.close_all()

    with ThreadPoolExecutor(max_workers=2) as pool:
        moved = [pool.submit(top_up, place) for place in range(20)]
        served = serve([(payer, payer.hold(PRICE), PRICE) for _ in range(AFFORDABLE)])
        for movement in moved:
            movement.result(timeout=30)
    assert served == AFFORDABLE
    assert purse(payer) == (20 * PRICE, 0)
    assert verify_ledger().problems == []


def test_one_hold_told_by_many_at_once_is_granted_once(payer: Payer) -> None:
    """A retry may overtake the request that it repeats; both find one hold."""
    asked = payer.hold(PRICE)

    async def main() -> list[Granted]:
        committers = processes()
        for committer in committers:
            await committer.start()
        try:
            return await asyncio.gather(*(committers[n % len(committers)].hold(asked) for n in range(10)))
        finally:
            for committer in committers:
                await committer.stop()

    grants = asyncio.run(main())
    assert {grant.amount_micro for grant in grants} == {PRICE}
    assert purse(payer) == (AFFORDABLE * PRICE, PRICE)
    assert isinstance(asked.request_id, uuid.UUID)
