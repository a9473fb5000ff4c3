"""How a hold ends, whichever way it is committed: charged, given back, expired; once, however often it is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from apps.ledger.models import BudgetWindow
from apps.ledger.models import Hold as HoldRow
from apps.ledger.operations import Granted, Guard, Hold, Release, Released, Settled
from apps.ledger.rules import DAILY, HOURLY, LIFETIME
from apps.usage.models import UsageRecord
from tests.ledger.contract import Door, Payer, antedate, entries, hold_state, logged, only, problems, purse, windows

DAILY_500 = Guard("key:k", DAILY, 500, "key_budget_exhausted")


def test_a_call_that_cost_less_than_its_hold_is_charged_what_it_cost(door: Door, alice: Payer) -> None:
    asked = alice.hold(400)
    door.commit([asked])
    assert only(Settled, door.commit([alice.settle(asked, 123)])) == Settled(123, 1_000, 877)
    assert purse(alice) == (877, 0)
    assert entries(alice) == [(1, "top_up", 1_000, 0, 1_000), (2, "charge", 123, 1_000, 877)]
    assert hold_state(asked) is None
    assert logged(asked) == {"status": "succeeded", "http_status": 200, "charge_micro": 123, "absorbed_micro": 0}


def test_a_settlement_writes_the_whole_record(door: Door, alice: Payer) -> None:
    asked = alice.hold(400)
    door.commit([asked])
    settlement = alice.settle(asked, 123)
    door.commit([settlement])
    row = UsageRecord.objects.get(request_id=asked.request_id)
    assert (row.account_id, row.key_id, row.model_id) == (alice.account_id, alice.key_id, "claude-sonnet-4-7")
    assert (row.input_tokens, row.output_tokens, row.is_stream, row.endpoint) == (1_200, 300, False, "chat")
    assert (row.facts, row.received_at) == ({"limit": "none"}, settlement.record.received_at)


def test_what_a_call_cost_beyond_its_hold_is_taken_from_what_is_usable(door: Door, alice: Payer) -> None:
    asked, other = alice.hold(100), alice.hold(300)
    door.commit([asked, other])
    assert only(Settled, door.commit([alice.settle(asked, 650)])) == Settled(650, 1_000, 350)
    assert purse(alice) == (350, 300)


def test_what_nobody_can_pay_is_absorbed_by_the_house(door: Door, alice: Payer) -> None:
    asked, other = alice.hold(100), alice.hold(300)
    door.commit([asked, other])
    assert only(Settled, door.commit([alice.settle(asked, 900)])) == Settled(700, 1_000, 300, absorbed_micro=200)
    assert purse(alice) == (300, 300)
    assert entries(alice)[1:] == [(2, "charge", 700, 1_000, 300), (3, "absorbed", 200, 300, 300)]
    assert logged(asked)["charge_micro"] == 700
    assert logged(asked)["absorbed_micro"] == 200


def test_what_exceeds_a_budget_is_absorbed_though_the_balance_has_it(door: Door, alice: Payer) -> None:
    asked, other = alice.hold(100, guards=(DAILY_500,)), alice.hold(150, guards=(DAILY_500,))
    door.commit([asked, other])
    assert only(Settled, door.commit([alice.settle(asked, 600)])) == Settled(350, 1_000, 650, absorbed_micro=250)
    assert windows(alice) == {("key:k", DAILY): (350, 150)}
    assert only(Settled, door.commit([alice.settle(other, 151)])) == Settled(150, 650, 500, absorbed_micro=1)
    assert windows(alice) == {("key:k", DAILY): (500, 0)}


def test_a_call_that_the_house_pays_whole_leaves_no_charge(door: Door, alice: Payer) -> None:
    rest, free = alice.hold(1_000), alice.hold(0)
    door.commit([rest, free])
    settlement = alice.settle(free, 40)
    assert only(Settled, door.commit([settlement])) == Settled(0, 1_000, 1_000, absorbed_micro=40)
    assert entries(alice)[1:] == [(2, "absorbed", 40, 1_000, 1_000)]
    again = only(Settled, door.commit([settlement], is_repeat=True))
    assert again == Settled(0, 1_000, 1_000, absorbed_micro=40, is_repeated=True)


def test_a_call_that_cost_nothing_is_logged_and_gives_its_hold_back(door: Door, alice: Payer) -> None:
    asked = alice.hold(400, guards=(DAILY_500,))
    door.commit([asked])
    assert only(Settled, door.commit([alice.settle(asked, 0)])) == Settled(0, 1_000, 1_000)
    assert (purse(alice), windows(alice)) == ((1_000, 0), {("key:k", DAILY): (0, 0)})
    assert len(entries(alice)) == 1
    assert logged(asked) == {"status": "succeeded", "http_status": 200, "charge_micro": 0, "absorbed_micro": 0}


@pytest.mark.parametrize("is_repeat", [True, False])
def test_a_settlement_told_twice_charges_once(door: Door, alice: Payer, is_repeat: bool) -> None:
    asked = alice.hold(400, guards=(DAILY_500,))
    granted = only(Granted, door.commit([asked]))
    settlement = alice.settle(asked, 123, windows=granted.windows)
    door.commit([settlement])
    door.commit([alice.hold(10)])
    again = only(Settled, door.commit([settlement], is_repeat=is_repeat))
    assert again == Settled(123, 1_000, 877, is_repeated=True)
    assert purse(alice) == (877, 10)
    assert windows(alice) == {("key:k", DAILY): (123, 0)}
    assert len(entries(alice)) == 2
    assert UsageRecord.objects.count() == 1


def test_a_settlement_with_absorbed_cost_told_twice_gives_the_same_receipt(door: Door, alice: Payer) -> None:
    asked = alice.hold(100, guards=(DAILY_500,))
    door.commit([asked])
    settlement = alice.settle(asked, 600)
    first = only(Settled, door.commit([settlement]))
    again = only(Settled, door.commit([settlement], is_repeat=True))
    assert first == Settled(500, 1_000, 500, absorbed_micro=100)
    assert again == Settled(500, 1_000, 500, absorbed_micro=100, is_repeated=True)


@pytest.mark.parametrize("charge", [123, 0])
def test_a_settlement_twice_in_one_batch_charges_once(door: Door, alice: Payer, charge: int) -> None:
    asked = alice.hold(400)
    door.commit([asked])
    first, second = door.commit([alice.settle(asked, charge), alice.settle(asked, charge)])
    assert first == Settled(charge, 1_000, 1_000 - charge)
    assert second == Settled(charge, 1_000, 1_000 - charge, is_repeated=charge > 0)
    assert purse(alice) == (1_000 - charge, 0)
    assert UsageRecord.objects.count() == 1


def test_a_failed_call_costs_nothing_and_is_logged(door: Door, alice: Payer) -> None:
    asked = alice.hold(400, guards=(DAILY_500,))
    door.commit([asked])
    assert only(Released, door.commit([alice.release(asked)])) == Released(was_open=True)
    assert (purse(alice), windows(alice), hold_state(asked)) == ((1_000, 0), {("key:k", DAILY): (0, 0)}, None)
    assert len(entries(alice)) == 1
    assert logged(asked) == {"status": "failed", "http_status": 502, "charge_micro": 0, "absorbed_micro": 0}


@pytest.mark.parametrize("is_repeat", [True, False])
def test_a_release_told_twice_gives_back_once(door: Door, alice: Payer, is_repeat: bool) -> None:
    asked, other = alice.hold(400, guards=(DAILY_500,)), alice.hold(100, guards=(DAILY_500,))
    door.commit([asked, other])
    door.commit([alice.release(asked)])
    again = only(Released, door.commit([alice.release(asked)], is_repeat=is_repeat))
    assert again == Released(was_open=False)
    assert purse(alice) == (1_000, 100)
    assert windows(alice) == {("key:k", DAILY): (0, 100)}
    assert UsageRecord.objects.count() == 1


def test_a_refused_call_is_logged_without_a_hold(door: Door, alice: Payer) -> None:
    refused = alice.hold(1)
    assert only(Released, door.commit([alice.release(refused)])) == Released(was_open=False)
    assert logged(refused)["status"] == "failed"
    assert purse(alice) == (1_000, 0)


def test_a_release_without_a_record_logs_nothing(door: Door, alice: Payer) -> None:
    asked = alice.hold(400)
    door.commit([asked])
    assert only(Released, door.commit([Release(asked.request_id, alice.account_id, None)])).was_open
    assert UsageRecord.objects.count() == 0
    assert purse(alice) == (1_000, 0)


def test_a_release_after_the_settlement_changes_nothing(door: Door, alice: Payer) -> None:
    asked = alice.hold(400)
    door.commit([asked])
    door.commit([alice.settle(asked, 123)])
    assert only(Released, door.commit([alice.release(asked)])) == Released(was_open=False)
    assert purse(alice) == (877, 0)
    assert logged(asked)["status"] == "succeeded"


def test_an_expired_hold_gives_back_and_leaves_a_tombstone(door: Door, alice: Payer) -> None:
    asked = alice.hold(400, guards=(DAILY_500,))
    door.commit([asked])
    assert only(Released, door.commit([alice.expire(asked)])) == Released(was_open=True)
    assert (purse(alice), windows(alice)) == ((1_000, 0), {("key:k", DAILY): (0, 0)})
    tombstone = HoldRow.objects.get(request_id=asked.request_id)
    assert (tombstone.state, tombstone.amount_micro) == ("expired", 400)
    assert tombstone.expired_at is not None
    assert tombstone.expired_at >= tombstone.created_at
    assert only(Released, door.commit([alice.expire(asked)], is_repeat=True)) == Released(was_open=False)
    assert purse(alice) == (1_000, 0)
    assert UsageRecord.objects.count() == 0


def test_a_settlement_that_comes_late_charges_in_the_windows_of_the_tombstone(door: Door, alice: Payer) -> None:
    asked = alice.hold(400, guards=(DAILY_500, Guard("key:k", LIFETIME, 450, "key_limit_exhausted")))
    door.commit([asked])
    door.commit([alice.expire(asked)])
    settlement = alice.settle(asked, 470)
    assert only(Settled, door.commit([settlement])) == Settled(450, 1_000, 550, absorbed_micro=20)
    assert windows(alice) == {("key:k", DAILY): (450, 0), ("key:k", LIFETIME): (450, 0)}
    assert hold_state(asked) == "expired"
    again = only(Settled, door.commit([settlement]))
    assert again == Settled(450, 1_000, 550, absorbed_micro=20, is_repeated=True)
    assert purse(alice) == (550, 0)


def test_a_settlement_that_comes_late_takes_nothing_that_others_hold(door: Door, alice: Payer) -> None:
    asked = alice.hold(400)
    door.commit([asked])
    door.commit([alice.expire(asked)])
    door.commit([alice.hold(900)])
    assert only(Settled, door.commit([alice.settle(asked, 300)])) == Settled(100, 1_000, 900, absorbed_micro=200)
    assert purse(alice) == (900, 900)


def test_a_settlement_without_any_trace_of_its_hold_charges_in_the_windows_it_names(door: Door, alice: Payer) -> None:
    asked = alice.hold(400, guards=(DAILY_500,))
    granted = only(Granted, door.commit([asked]))
    door.commit([alice.expire(asked)])
    HoldRow.objects.all().delete()
    assert only(Settled, door.commit([alice.settle(asked, 600, windows=granted.windows)])).charge_micro == 500
    assert windows(alice) == {("key:k", DAILY): (500, 0)}


def test_a_late_release_leaves_the_tombstone_and_logs_the_call(door: Door, alice: Payer) -> None:
    asked = alice.hold(400)
    door.commit([asked])
    door.commit([alice.expire(asked)])
    assert only(Released, door.commit([alice.release(asked)])) == Released(was_open=False)
    assert (purse(alice), hold_state(asked), logged(asked)["status"]) == ((1_000, 0), "expired", "failed")


@pytest.mark.parametrize("names_windows", [True, False])
def test_a_charge_belongs_to_the_window_of_its_hold(door: Door, alice: Payer, names_windows: bool) -> None:
    hourly = Guard("key:k", HOURLY, 500, "key_budget_exhausted")
    asked = alice.hold(300, guards=(hourly,))
    door.commit([asked])
    earlier = antedate(asked, hours=1)
    later = alice.hold(500, guards=(hourly,))
    door.commit([later])
    settlement = alice.settle(asked, 450, windows=earlier if names_windows else ())
    assert only(Settled, door.commit([settlement])) == Settled(450, 1_000, 550)
    rows = BudgetWindow.objects.order_by("starts_at").values_list("starts_at", "spent_micro", "held_micro")
    assert list(rows) == [
        (earlier[0].starts_at, 450, 0),
        (earlier[0].starts_at + timedelta(hours=1), 0, 500),
    ]


def test_a_hold_is_settled_against_the_limit_that_it_was_taken_under(door: Door, alice: Payer) -> None:
    asked = alice.hold(100, guards=(Guard("key:k", DAILY, 800, "key_budget_exhausted"),))
    door.commit([asked])
    lowered = Guard("key:k", DAILY, 200, "key_budget_exhausted")
    door.commit([alice.hold(50, guards=(lowered,))])
    assert only(Settled, door.commit([alice.settle(asked, 700)])) == Settled(700, 1_000, 300)
    assert windows(alice) == {("key:k", DAILY): (700, 50)}


def annul(payer: Payer, hold: Hold) -> Release:
    return replace(payer.release(hold), annuls=True)


def test_a_charge_that_its_call_must_not_have_is_given_back_once(door: Door, alice: Payer) -> None:
    asked = alice.hold(400, guards=(DAILY_500,))
    door.commit([asked])
    door.commit([alice.settle(asked, 123)])
    for _ in range(2):
        assert only(Released, door.commit([annul(alice, asked)])) == Released(was_open=False)
    assert purse(alice) == (1_000, 0)
    assert entries(alice)[1:] == [(2, "charge", 123, 1_000, 877), (3, "correction", 123, 877, 1_000)]
    # Its budgets and its record keep what they say.
    assert windows(alice) == {("key:k", DAILY): (123, 0)}
    assert logged(asked)["charge_micro"] == 123
    assert problems() == []


def test_an_annulment_of_what_was_not_charged_is_a_release(door: Door, alice: Payer) -> None:
    asked = alice.hold(400)
    door.commit([asked])
    assert only(Released, door.commit([annul(alice, asked)])) == Released(was_open=True)
    assert (purse(alice), len(entries(alice))) == ((1_000, 0), 1)
    assert logged(asked)["status"] == "failed"


def test_a_settlement_and_its_annulment_in_one_batch_come_to_nothing(door: Door, alice: Payer) -> None:
    asked = alice.hold(400)
    door.commit([asked])
    door.commit([alice.settle(asked, 123), annul(alice, asked)], is_repeat=True)
    assert purse(alice) == (1_000, 0)
    assert [entry[1:3] for entry in entries(alice)[1:]] == [("charge", 123), ("correction", 123)]
