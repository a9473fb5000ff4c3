"""What the house pays for an account's calls is capped by the day, whichever way calls are committed."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from django.db.models import F

from apps.accounts.models import Account, Notification
from apps.accounts.services import set_account
from apps.core.errors import LimitFacts
from apps.core.money import MAX_MICRO, Credits
from apps.ledger.budgets import tend_windows
from apps.ledger.models import BudgetWindow
from apps.ledger.operations import Granted, HoldRefused, Settled
from apps.ledger.rules import DAILY, window_start
from tests.ledger.contract import Door, Payer, absorbed, only, problems, purse


def cap(payer: Payer, micro: int | None) -> None:
    """What the operator sets."""
    amount = None if micro is None else Credits(micro)
    set_account(account_id=payer.account_id, actor="tests", absorbed_cap=amount)


@pytest.fixture
def poor(door: Door, alice: Payer) -> Payer:
    """Alice, whose credits are all held by a call that runs on, but for two."""
    door.commit([alice.hold(998)])
    return alice


def test_an_account_starts_with_a_cap_of_a_thousand_credits(ledger_db: None, alice: Payer) -> None:
    assert Account.objects.get().absorbed_cap_micro == 1_000_000_000


def test_calls_are_served_until_the_house_has_paid_the_cap(door: Door, poor: Payer) -> None:
    cap(poor, 100)
    asked = poor.hold(2)
    door.commit([asked])
    assert only(Settled, door.commit([poor.settle(asked, 101)])) == Settled(2, 1_000, 998, absorbed_micro=99)
    assert absorbed(poor) == [99]
    # One short of it: the next call is served, whatever it costs.
    free = poor.hold(0)
    granted = only(Granted, door.commit([free]))
    assert only(Settled, door.commit([poor.settle(free, 51)])) == Settled(0, 998, 998, absorbed_micro=51)
    assert absorbed(poor) == [150]
    assert granted.now is not None
    refusal = only(HoldRefused, door.commit([poor.hold(0)]))
    assert (refusal.code, refusal.status, refusal.kind.should_retry) == ("account_budget_exhausted", 402, False)
    midnight = window_start(DAILY, granted.now) + timedelta(days=1)
    assert refusal.facts == LimitFacts("account_absorbed", 100, 150, resets_at=midnight, is_money=True)
    assert "cost 0.00015 credits more today than could be charged" in refusal.message
    assert (purse(poor), problems()) == ((998, 998), [])


def test_calls_that_run_are_settled_past_the_cap_and_nothing_vanishes(door: Door, poor: Payer) -> None:
    cap(poor, 100)
    first, second = poor.hold(1), poor.hold(1)
    door.commit([first, second])
    receipts = door.commit([poor.settle(first, 101), poor.settle(second, 71)])
    assert [receipt.absorbed_micro for receipt in receipts if isinstance(receipt, Settled)] == [100, 70]
    assert absorbed(poor) == [170]
    assert problems() == []


def test_an_operator_may_raise_the_cap_at_once(door: Door, poor: Payer) -> None:
    cap(poor, 100)
    free = poor.hold(0)
    door.commit([free])
    door.commit([poor.settle(free, 2 + 100)])
    assert isinstance(door.commit([poor.hold(0)])[0], HoldRefused)
    cap(poor, 101)
    assert isinstance(door.commit([poor.hold(0)])[0], Granted)
    cap(poor, 100)
    assert isinstance(door.commit([poor.hold(0)])[0], HoldRefused)
    cap(poor, None)
    assert isinstance(door.commit([poor.hold(0)])[0], Granted)


def test_a_cap_of_nothing_stops_at_the_first_absorbed_credit(door: Door, poor: Payer) -> None:
    cap(poor, 0)
    free = poor.hold(0)
    assert isinstance(door.commit([free])[0], Granted)
    door.commit([poor.settle(free, 2 + 1)])
    assert isinstance(door.commit([poor.hold(0)])[0], HoldRefused)


def test_the_next_day_begins_at_nothing(door: Door, poor: Payer) -> None:
    cap(poor, 100)
    free = poor.hold(0)
    door.commit([free])
    door.commit([poor.settle(free, 200)])
    BudgetWindow.objects.update(starts_at=F("starts_at") - timedelta(days=1))
    assert isinstance(door.commit([poor.hold(0)])[0], Granted)


def test_another_account_is_served_on(door: Door, poor: Payer, charlie: Payer) -> None:
    cap(poor, 100)
    free = poor.hold(0)
    door.commit([free])
    door.commit([poor.settle(free, 200)])
    outcomes = door.commit([poor.hold(0), charlie.hold(10)])
    assert [type(outcome) for outcome in outcomes] == [HoldRefused, Granted]


def test_a_repeated_settlement_is_counted_once(door: Door, poor: Payer) -> None:
    free = poor.hold(0)
    door.commit([free])
    settlement = poor.settle(free, 52)
    door.commit([settlement])
    door.commit([settlement], is_repeat=True)
    assert absorbed(poor) == [50]
    assert problems() == []


def test_a_day_that_cannot_be_counted_further_is_full(door: Door, poor: Payer) -> None:
    first, second = poor.hold(0), poor.hold(0)
    door.commit([first, second])
    door.commit([poor.settle(first, 2**70), poor.settle(second, 2**70)])
    assert absorbed(poor) == [MAX_MICRO]
    assert problems() == []


def test_the_operator_hears_once_a_day_that_the_house_pays_and_that_it_stopped(
    door: Door, poor: Payer, caplog: pytest.LogCaptureFixture
) -> None:
    cap(poor, 100)
    first, second = poor.hold(0), poor.hold(0)
    door.commit([first, second])
    door.commit([poor.settle(first, 2 + 60)])
    with caplog.at_level(logging.ERROR, logger="apps.ledger.budgets"):
        tend_windows()
        assert told() == ["absorbed"]
        assert caplog.messages == []
        door.commit([poor.settle(second, 60)])
        tend_windows()
        tend_windows()
    assert told() == ["absorbed", "absorbed_cap"]
    (line,) = caplog.messages
    assert line.startswith(f"account {poor.account_id}: the house paid 0.00012 credits for its calls today")
    assert line.endswith("its cap is 0.0001: no further call is served")
    assert Notification.objects.get(kind="absorbed_cap").message == (
        "The house paid 0.00012 credits: no further call is served on this day (UTC)."
    )


def told() -> list[str]:
    return sorted(Notification.objects.values_list("kind", flat=True))
