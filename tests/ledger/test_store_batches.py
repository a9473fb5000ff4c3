"""Batches, whichever way they are committed: one order, one transaction, one chain per account."""

from __future__ import annotations

import dataclasses
import uuid

import pytest

from apps.core.ids import new_id
from apps.core.money import MAX_MICRO
from apps.ledger.books import CASH, CUSTOMER, PROMOTION
from apps.ledger.models import Entry
from apps.ledger.models import Hold as HoldRow
from apps.ledger.operations import (
    BadOperation,
    Granted,
    Guard,
    Move,
    Moved,
    MoveRefused,
    Released,
    Settled,
    Waiting,
)
from apps.ledger.rules import DAILY
from apps.usage.models import UsageRecord
from tests.ledger.contract import Door, Payer, entries, hold_state, logged, only, problems, purse, windows


def top_up(payer: Payer, amount: int) -> Move:
    return Move(new_id(), payer.account_id, "top_up", CASH, CUSTOMER, amount, reference="invoice 7", actor="tests")


def take(payer: Payer, amount: int) -> Move:
    return Move(new_id(), payer.account_id, "correction", CUSTOMER, CASH, amount, reason="chargeback", actor="tests")


def test_what_gives_money_back_goes_before_what_asks_for_it(door: Door, alice: Payer) -> None:
    first, second = alice.hold(600), alice.hold(400)
    door.commit([first, second])
    asked = [alice.hold(700), alice.hold(500), alice.hold(300)]
    outcomes = door.commit(
        [asked[0], alice.settle(first, 100), asked[1], alice.release(second), asked[2], top_up(alice, 300)]
    )
    assert outcomes[1] == Settled(100, 1_000, 900)
    assert outcomes[3] == Released(was_open=True)
    assert [type(outcomes[place]) for place in (0, 2, 4, 5)] == [Granted, Granted, Waiting, Moved]
    assert purse(alice) == (1_200, 1_200)


def test_a_batch_makes_one_unbroken_chain_per_account(door: Door, alice: Payer, charlie: Payer) -> None:
    holds = [payer.hold(50) for _ in range(10) for payer in (alice, charlie)]
    door.commit(holds)
    payers = {alice.account_id: alice, charlie.account_id: charlie}
    outcomes = door.commit([payers[hold.account_id].settle(hold, charge) for charge, hold in enumerate(holds, start=1)])
    receipts = [outcome for outcome in outcomes[::2] if isinstance(outcome, Settled)]
    before = 1_000
    for place, receipt in enumerate(receipts):
        charge = 2 * place + 1
        assert receipt == Settled(charge, before, before - charge)
        before -= charge
    assert [entry[0] for entry in entries(alice)] == list(range(1, 12))
    assert [entry[2] for entry in entries(charlie)[1:]] == list(range(2, 21, 2))
    assert (purse(alice), purse(charlie)) == ((900, 0), (890, 0))
    assert problems() == []


def test_holds_and_settlements_of_one_window_add_up_in_one_batch(door: Door, alice: Payer) -> None:
    guard = Guard("account", DAILY, 900, "account_budget_exhausted")
    first, second = alice.hold(300, guards=(guard,)), alice.hold(200, guards=(guard,))
    granted = door.commit([first, second])
    assert isinstance(granted[0], Granted)
    third = alice.hold(250, guards=(guard,))
    door.commit([alice.settle(first, 320, windows=granted[0].windows), third, alice.release(second)])
    assert windows(alice) == {("account", DAILY): (320, 250)}
    assert purse(alice) == (680, 250)


def test_a_movement_told_twice_moves_once(door: Door, alice: Payer) -> None:
    movement = top_up(alice, 500)
    first = only(Moved, door.commit([movement]))
    assert (first.balance_before_micro, first.balance_after_micro, first.amount_micro) == (1_000, 1_500, 500)
    again = only(Moved, door.commit([movement]))
    assert again == dataclasses.replace(first, is_repeated=True)
    twice = top_up(alice, 70)
    outcomes = door.commit([twice, twice], is_repeat=True)
    assert [isinstance(outcome, Moved) and outcome.is_repeated for outcome in outcomes] == [False, True]
    assert purse(alice) == (1_570, 0)
    row = Entry.objects.get(operation_id=movement.operation_id)
    assert (row.id, row.kind, row.debit, row.credit, row.reference, row.actor) == (
        first.entry_id,
        "top_up",
        CASH,
        CUSTOMER,
        "invoice 7",
        "tests",
    )


def test_a_movement_takes_nothing_that_is_held(door: Door, alice: Payer) -> None:
    door.commit([alice.hold(700)])
    refused = only(MoveRefused, door.commit([take(alice, 301)]))
    assert str(refused) == "0.000301 credits are more than the 0.0003 that are available"
    assert only(Moved, door.commit([take(alice, 300)])).balance_after_micro == 700
    assert purse(alice) == (700, 700)


def test_grants_and_top_ups_may_share_an_operation(door: Door, alice: Payer) -> None:
    paid = top_up(alice, 500)
    extra = Move(paid.operation_id, alice.account_id, "grant", PROMOTION, CUSTOMER, 50)
    assert [type(outcome) for outcome in door.commit([paid, extra])] == [Moved, Moved]
    assert purse(alice) == (1_550, 0)


@pytest.mark.parametrize("bad", ["negative charge", "impossible record", "unknown account", "too large"])
def test_one_bad_operation_leaves_nothing_of_its_batch(door: Door, alice: Payer, charlie: Payer, bad: str) -> None:
    guard = Guard("key:k", DAILY, 900, "key_budget_exhausted")
    first, second = alice.hold(300, guards=(guard,)), charlie.hold(200)
    door.commit([first, second])
    settlement = charlie.settle(second, 20)
    if bad == "negative charge":
        settlement.charge_micro = -5
    elif bad == "impossible record":
        settlement.record.http_status = -1
    elif bad == "unknown account":
        settlement.account_id = uuid.UUID(int=7)
    else:
        settlement.record.held_micro = 2**70
    third = alice.hold(100, guards=(guard,))
    with pytest.raises(BadOperation):
        door.commit([alice.settle(first, 30), third, top_up(alice, 10), settlement])
    assert (purse(alice), purse(charlie)) == ((1_000, 300), (1_000, 200))
    assert windows(alice) == {("key:k", DAILY): (0, 300)}
    assert (len(entries(alice)), len(entries(charlie))) == (1, 1)
    assert (hold_state(first), hold_state(second), hold_state(third)) == ("open", "open", None)
    assert UsageRecord.objects.count() == 0

    # The door is not broken by it: the others go on.
    door.commit([alice.settle(first, 30), third], is_repeat=True)
    assert purse(alice) == (970, 100)
    assert problems() == []


def test_a_record_is_logged_with_its_charge_or_not_at_all(door: Door, alice: Payer) -> None:
    asked = alice.hold(300)
    door.commit([asked])
    settlement = alice.settle(asked, 30)
    settlement.record.output_tokens = MAX_MICRO + 1
    with pytest.raises(BadOperation):
        door.commit([settlement])
    assert (purse(alice), UsageRecord.objects.count()) == ((1_000, 300), 0)
    settlement.record.output_tokens = MAX_MICRO
    door.commit([settlement])
    assert logged(asked)["charge_micro"] == 30


def test_a_batch_of_a_whole_queue_commits(door: Door, alice: Payer) -> None:
    holds = [alice.hold(2) for _ in range(256)]
    assert all(isinstance(outcome, Granted) for outcome in door.commit(holds))
    assert purse(alice) == (1_000, 512)
    assert HoldRow.objects.count() == 256
    door.commit([alice.settle(hold, 2) for hold in holds])
    assert purse(alice) == (488, 0)
    assert [entry[0] for entry in entries(alice)] == list(range(1, 258))
    assert problems() == []
