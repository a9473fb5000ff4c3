"""A limit that is set when calls were made already counts them, whichever way holds are committed."""

from __future__ import annotations

import dataclasses
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from apps.core import clock
from apps.core.ids import time_bound
from apps.ledger.models import BudgetWindow
from apps.ledger.models import Hold as HoldRow
from apps.ledger.operations import NO_LIMIT, Granted, Guard, Hold, HoldRefused, Settled, Waiting
from apps.ledger.rules import DAILY, HOURLY, LIFETIME
from apps.ledger.store.orm import held_windows
from apps.usage.models import UsageRecord
from tests.ledger.contract import (
    Clock,
    Door,
    Payer,
    add_key,
    keep_clear_of_the_hours_end,
    only,
    problems,
    purse,
    windows,
)

SCOPES = {
    "key lifetime": ("key:{key}", LIFETIME, "key_limit_exhausted"),
    "model lifetime": ("key:{key}:claude-sonnet-4-7", LIFETIME, "key_model_limit_exhausted"),
    "key daily": ("key:{key}", DAILY, "key_budget_exhausted"),
    "key hourly": ("key:{key}", HOURLY, "key_budget_exhausted"),
    "account daily": ("account", DAILY, "account_budget_exhausted"),
}


@pytest.fixture
def steady_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """No window turns, and the store's clock agrees with the one that request ids are made by."""
    if connection.vendor == "postgresql":
        keep_clear_of_the_hours_end()
    else:
        monkeypatch.setattr(clock, "now", Clock(datetime.now(UTC)).now)


@pytest.fixture(params=SCOPES)
def scope(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def limit(payer: Payer, scope: str, amount: int) -> Guard:
    name, period, code = SCOPES[scope]
    return Guard(name.format(key=payer.key_id), period, amount, code)


def on_file(guard: Guard, spent: int, held: int) -> dict[tuple[str, str], tuple[int, int]]:
    return {(guard.scope, guard.period): (spent, held)}


def call(door: Door, payer: Payer, charge: int, *, guards: tuple[Guard, ...] = ()) -> None:
    """A whole call."""
    asked = payer.hold(charge, guards=guards)
    granted = only(Granted, door.commit([asked]))
    door.commit([payer.settle(asked, charge, windows=granted.windows)])


def test_a_limit_counts_what_was_spent_and_is_held_before_it_was_set(door: Door, alice: Payer, scope: str) -> None:
    call(door, alice, 120)
    running = alice.hold(200)
    granted = only(Granted, door.commit([running]))
    assert (granted.windows, windows(alice)) == ((), {})

    guard = limit(alice, scope, 500)
    waiting = only(Waiting, door.commit([alice.hold(181, guards=(guard,))]))
    assert waiting.refusal.facts is not None
    assert waiting.refusal.facts.available == 180
    assert windows(alice) == on_file(guard, 120, 200)
    refusal = only(HoldRefused, door.commit([alice.hold(381, guards=(guard,))]))
    assert (refusal.code, refusal.facts and refusal.facts.used) == (guard.code, 120)
    asked = alice.hold(180, guards=(guard,))
    assert only(Granted, door.commit([asked])).amount_micro == 180

    # A call that was taken under no limit is not made a gift by one that was set while it ran.
    assert only(Settled, door.commit([alice.settle(running, 450, windows=granted.windows)])).charge_micro == 450
    assert windows(alice) == on_file(guard, 570, 180)
    door.commit([alice.release(asked)])
    assert windows(alice) == on_file(guard, 570, 0)
    assert problems() == []


def test_a_window_is_counted_once(door: Door, alice: Payer, scope: str) -> None:
    call(door, alice, 120)
    guard = limit(alice, scope, 100)
    refused = [only(HoldRefused, door.commit([alice.hold(1, guards=(guard,))])).facts]
    UsageRecord.objects.update(charge_micro=0)
    refused.append(only(HoldRefused, door.commit([alice.hold(1, guards=(guard,))])).facts)
    assert [facts and (facts.value, facts.used) for facts in refused] == [(100, 120)] * 2
    assert BudgetWindow.objects.count() == 1


def test_a_limit_counts_its_own_scope_only(door: Door, alice: Payer, charlie: Payer, scope: str) -> None:
    other_key = Payer(alice.account_id, add_key(alice.account_id))
    call(door, alice, 10)
    call(door, other_key, 20)
    call(door, charlie, 40)
    other_model = dataclasses.replace(alice.hold(80), model_id="gpt-5-5")
    door.commit([other_model])
    door.commit([alice.settle(other_model, 80)])
    running = [
        alice.hold(1),
        other_key.hold(2),
        charlie.hold(4),
        dataclasses.replace(alice.hold(8), model_id="gpt-5-5"),
    ]
    door.commit(running)
    guard = limit(alice, scope, 700)
    door.commit([alice.hold(100, guards=(guard,))])
    spent, held = {"model lifetime": (10, 1), "account daily": (110, 11)}.get(scope, (90, 9))
    assert windows(alice) == on_file(guard, spent, held + 100)
    assert windows(charlie) == {}
    assert problems() == []


def test_a_limit_that_was_lifted_and_is_set_again_counts_what_was_spent_meanwhile(
    door: Door, alice: Payer, scope: str
) -> None:
    guard = limit(alice, scope, 500)
    call(door, alice, 100, guards=(guard,))
    call(door, alice, 70)
    running = alice.hold(30)
    granted = only(Granted, door.commit([running]))
    assert [window.limit_micro for window in granted.windows] == [NO_LIMIT]
    assert windows(alice) == on_file(guard, 170, 30)
    assert isinstance(door.commit([alice.hold(301, guards=(guard,))])[0], Waiting)
    assert isinstance(door.commit([alice.hold(300, guards=(guard,))])[0], Granted)
    assert problems() == []


def test_a_limit_set_in_the_batch_that_ends_earlier_calls_counts_each_of_them_once(
    door: Door, alice: Payer, scope: str
) -> None:
    settled, released, expired, running = (alice.hold(amount) for amount in (100, 50, 40, 30))
    door.commit([settled, released, expired, running])
    guard = limit(alice, scope, 500)
    outcomes = door.commit(
        [
            alice.hold(370, guards=(guard,)),
            alice.settle(settled, 90),
            alice.release(released),
            alice.expire(expired),
            alice.hold(10),
        ]
    )
    assert [type(outcome) for outcome in outcomes[::4]] == [Granted, Granted]
    assert windows(alice) == on_file(guard, 90, 30 + 370 + 10)
    assert purse(alice) == (910, 410)
    tombstone = HoldRow.objects.get(request_id=expired.request_id)
    assert (tombstone.state, [window.scope for window in held_windows(tombstone.windows)]) == ("expired", [guard.scope])
    assert problems() == []


def test_a_late_settlement_of_a_call_that_expired_before_the_limit_counts(door: Door, alice: Payer, scope: str) -> None:
    expired = alice.hold(40)
    door.commit([expired])
    door.commit([alice.expire(expired)])
    guard = limit(alice, scope, 500)
    call(door, alice, 5, guards=(guard,))
    assert only(Settled, door.commit([alice.settle(expired, 40)])).charge_micro == 40
    assert windows(alice) == on_file(guard, 45, 0)
    assert problems() == []


@pytest.mark.parametrize("is_raised", [True, False], ids=["raised", "lifted"])
def test_a_limit_that_changed_while_a_call_ran_does_not_turn_the_call_into_a_gift(
    door: Door, alice: Payer, scope: str, is_raised: bool
) -> None:
    asked, other = alice.hold(200, guards=(limit(alice, scope, 300),)), alice.hold(100)
    door.commit([asked, other])
    door.commit([alice.hold(500, guards=(limit(alice, scope, 900),) if is_raised else ())])
    assert windows(alice) == on_file(limit(alice, scope, 300), 0, 800)
    # Its hold is its own; what exceeds it finds the limit that it was taken under used up.
    assert only(Settled, door.commit([alice.settle(asked, 250)])) == Settled(200, 1_000, 800, absorbed_micro=50)
    assert windows(alice) == on_file(limit(alice, scope, 300), 200, 600)
    assert problems() == []


def test_several_limits_set_at_once_are_all_counted(door: Door, alice: Payer) -> None:
    call(door, alice, 120)
    running = alice.hold(30)
    door.commit([running])
    guards = tuple(limit(alice, scope, 500) for scope in SCOPES)
    door.commit([alice.hold(10, guards=guards), alice.hold(20, guards=guards[:1])])
    assert windows(alice) == {(guard.scope, guard.period): (120, 60) for guard in guards}
    door.commit([alice.settle(running, 25)])
    assert windows(alice) == {(guard.scope, guard.period): (145, 30) for guard in guards}
    assert len(held_windows(HoldRow.objects.order_by("created_at", "amount_micro")[0].windows)) == 5
    assert problems() == []


def test_a_free_call_under_a_new_limit_leaves_a_window_that_says_what_was_spent(
    door: Door, alice: Payer, scope: str
) -> None:
    call(door, alice, 120)
    guard = limit(alice, scope, 500)
    free = alice.hold(0, guards=(guard,))
    door.commit([free])
    assert windows(alice) == on_file(guard, 120, 0)
    door.commit([alice.settle(free, 3)])
    assert windows(alice) == on_file(guard, 123, 0)


@pytest.mark.parametrize("scope", ["key daily", "key hourly", "account daily"])
def test_a_budget_does_not_count_what_was_spent_in_earlier_windows(door: Door, alice: Payer, scope: str) -> None:
    yesterday = datetime.now(UTC) - timedelta(hours=25)
    early = dataclasses.replace(alice.hold(200), request_id=_request_at(yesterday))
    door.commit([early])
    door.commit([alice.settle(early, 200)])
    guard = limit(alice, scope, 300)
    assert only(Granted, door.commit([alice.hold(300, guards=(guard,))])).amount_micro == 300
    assert windows(alice) == on_file(guard, 0, 300)


def _request_at(moment: datetime) -> uuid.UUID:
    return uuid.UUID(int=time_bound(int(moment.timestamp() * 1_000)).int | uuid.uuid4().int >> 64)


def test_a_repeated_hold_that_opens_a_window_counts_once(door: Door, alice: Payer, scope: str) -> None:
    call(door, alice, 120)
    asked: Hold = alice.hold(100, guards=(limit(alice, scope, 500),))
    door.commit([asked])
    door.commit([asked], is_repeat=True)
    assert windows(alice) == on_file(limit(alice, scope, 500), 120, 100)
    assert problems() == []
