"""What comes back and what is taken back, whichever way it is committed: refunds, claw-backs, what is owed."""

from __future__ import annotations

import dataclasses
import uuid

import pytest

from apps.core.ids import new_id
from apps.core.money import MAX_MICRO
from apps.ledger.books import ADJUSTMENT, CASH, CUSTOMER, PROMOTION, RECEIVABLE, REVENUE
from apps.ledger.models import Balance, Entry, Grant
from apps.ledger.operations import Hold, Move, Moved, MoveRefused
from tests.ledger.contract import Door, Payer, entries, only, problems, purse, remaining


def move(
    payer: Payer, kind: str, amount: int, *, debit: str, credit: str = CUSTOMER, subject_id: uuid.UUID | None = None
) -> Move:
    return Move(
        new_id(), payer.account_id, kind, debit, credit, amount, reference="r", actor="tests", subject_id=subject_id
    )


def refund(payer: Payer, call: Hold, amount: int) -> Move:
    return move(payer, "refund", amount, debit=REVENUE, subject_id=call.request_id)


def top_up(payer: Payer, amount: int) -> Move:
    return move(payer, "top_up", amount, debit=CASH)


def give(payer: Payer, amount: int) -> Move:
    return move(payer, "grant", amount, debit=PROMOTION)


def claw_back(payer: Payer, amount: int) -> Move:
    return move(payer, "claw_back", amount, debit=CUSTOMER, credit=CASH)


def charged(door: Door, payer: Payer, amount: int) -> Hold:
    """A call that was charged so much."""
    asked = payer.hold(amount)
    door.commit([asked])
    door.commit([payer.settle(asked, amount)])
    return asked


def owes(payer: Payer) -> int:
    return Balance.objects.get(account_id=payer.account_id).owed_micro


def test_a_refund_gives_a_charge_back_and_names_the_request(door: Door, alice: Payer) -> None:
    call = charged(door, alice, 300)
    asked = refund(alice, call, 120)
    moved = only(Moved, door.commit([asked]))
    assert (moved.balance_before_micro, moved.balance_after_micro, moved.amount_micro) == (700, 820, 120)
    row = Entry.objects.get(kind="refund")
    assert (row.debit, row.credit, row.operation_id, row.subject_id, row.granted_micro) == (
        REVENUE,
        CUSTOMER,
        asked.operation_id,
        call.request_id,
        0,
    )
    again = only(Moved, door.commit([asked], is_repeat=True))
    assert (again.is_repeated, again.entry_id, purse(alice)) == (True, row.id, (820, 0))
    assert problems() == []


def test_refunds_never_exceed_what_the_request_was_charged(door: Door, alice: Payer) -> None:
    call, other = charged(door, alice, 300), charged(door, alice, 200)
    refused = only(MoveRefused, door.commit([refund(alice, call, 301)]))
    assert str(refused) == "0.000301 credits are more than the 0.0003 that are left of the request's charge"
    door.commit([refund(alice, call, 100)])
    door.commit([refund(alice, call, 150)])
    refused = only(MoveRefused, door.commit([refund(alice, call, 51)]))
    assert str(refused) == "0.000051 credits are more than the 0.00005 that are left of the request's charge"
    outcomes = door.commit([refund(alice, call, 50), refund(alice, call, 1), refund(alice, other, 200)])
    assert [type(outcome) for outcome in outcomes] == [Moved, MoveRefused, Moved]
    assert purse(alice) == (1_000, 0)
    assert problems() == []


def test_only_a_charge_of_the_same_account_can_be_refunded(door: Door, alice: Payer, charlie: Payer) -> None:
    call, running, failed = charged(door, charlie, 300), alice.hold(10), alice.hold(10)
    door.commit([running, failed])
    door.commit([alice.release(failed)])
    for request in (call, running, failed, alice.hold(1)):
        refused = only(MoveRefused, door.commit([refund(alice, request, 1)]))
        assert str(refused) == "the request was not charged"
    assert (purse(alice), purse(charlie)) == ((1_000, 10), (700, 0))


def test_what_the_house_absorbed_is_not_refunded(door: Door, alice: Payer) -> None:
    asked = alice.hold(400)
    door.commit([asked])
    door.commit([alice.settle(asked, 1_300)])
    refused = only(MoveRefused, door.commit([refund(alice, asked, 1_001)]))
    assert str(refused).startswith("0.001001 credits are more than the 0.001 that are left")


def test_a_refund_takes_no_entry_of_a_charge_that_was_annulled(door: Door, alice: Payer) -> None:
    """A correction under the request's own id gave it back."""
    call = charged(door, alice, 300)
    annulment = Move(call.request_id, alice.account_id, "correction", REVENUE, CUSTOMER, 280)
    door.commit([annulment])
    refused = only(MoveRefused, door.commit([refund(alice, call, 21)]))
    assert str(refused) == "0.000021 credits are more than the 0.00002 that are left of the request's charge"


def test_an_annulled_charge_comes_back_as_what_it_was_less_what_came_back_before(door: Door, alice: Payer) -> None:
    door.commit([give(alice, 100)])
    call = charged(door, alice, 300)
    door.commit([refund(alice, call, 250)])
    assert remaining(alice) == {100: 0, 50: 50}
    annulment = dataclasses.replace(alice.release(call), annuls=True)
    for _ in range(2):
        door.commit([annulment])
    assert purse(alice) == (1_100, 0)
    row = Entry.objects.get(kind="correction")
    assert (row.amount_micro, row.granted_micro, row.operation_id) == (50, 50, call.request_id)
    assert Grant.objects.get(id=call.request_id).remaining_micro == 50
    assert problems() == []


def test_paid_credits_come_back_first_and_granted_ones_as_a_grant(door: Door, alice: Payer) -> None:
    door.commit([give(alice, 100)])
    call = charged(door, alice, 300)
    door.commit([refund(alice, call, 150)])
    assert remaining(alice) == {100: 0}
    asked = refund(alice, call, 120)
    door.commit([asked])
    assert remaining(alice) == {100: 0, 70: 70}
    assert Grant.objects.get(id=asked.operation_id).expires_at is None
    door.commit([refund(alice, call, 30)])
    assert remaining(alice) == {100: 0, 70: 70, 30: 30}
    parts = Entry.objects.filter(kind="refund").order_by("seq").values_list("amount_micro", "granted_micro")
    assert list(parts) == [(150, 0), (120, 70), (30, 30)]
    assert purse(alice) == (1_100, 0)
    assert problems() == []


def test_a_refund_reopens_no_budget_and_leaves_the_record_alone(door: Door, alice: Payer) -> None:
    call = charged(door, alice, 300)
    door.commit([refund(alice, call, 300)])
    assert problems() == []
    assert entries(alice)[1:] == [(2, "charge", 300, 1_000, 700), (3, "refund", 300, 700, 1_000)]


def test_a_claw_back_takes_what_is_available(door: Door, alice: Payer) -> None:
    asked = claw_back(alice, 600)
    moved = only(Moved, door.commit([asked]))
    assert (moved.amount_micro, moved.owed_micro, moved.balance_after_micro) == (600, 0, 400)
    assert (purse(alice), owes(alice)) == ((400, 0), 0)
    again = only(Moved, door.commit([asked], is_repeat=True))
    assert (again.is_repeated, again.amount_micro, again.owed_micro, again.entry_id) == (True, 600, 0, moved.entry_id)
    assert problems() == []


def test_what_a_claw_back_cannot_take_is_owed(door: Door, alice: Payer) -> None:
    running = alice.hold(700)
    door.commit([running])
    asked = claw_back(alice, 900)
    moved = only(Moved, door.commit([asked]))
    assert (moved.balance_before_micro, moved.balance_after_micro) == (1_000, 700)
    assert (moved.amount_micro, moved.owed_micro) == (300, 600)
    assert entries(alice)[1:] == [(2, "claw_back", 300, 1_000, 700), (3, "owed", 600, 700, 700)]
    row = Entry.objects.get(kind="owed")
    assert (row.debit, row.credit, row.operation_id, row.reference) == (RECEIVABLE, CASH, asked.operation_id, "r")
    assert (purse(alice), owes(alice)) == ((700, 700), 600)
    again = only(Moved, door.commit([asked], is_repeat=True))
    assert (again.is_repeated, again.amount_micro, again.owed_micro) == (True, 300, 600)
    # The call that runs is paid as it was promised.
    door.commit([alice.settle(running, 700)])
    assert (purse(alice), owes(alice)) == ((0, 0), 600)
    assert problems() == []


def test_a_claw_back_from_an_empty_account_is_all_owed(door: Door, alice: Payer) -> None:
    charged(door, alice, 1_000)
    asked = claw_back(alice, 900)
    moved = only(Moved, door.commit([asked]))
    assert (moved.amount_micro, moved.owed_micro, moved.balance_after_micro) == (0, 900, 0)
    again = only(Moved, door.commit([asked], is_repeat=True))
    assert (again.entry_id, again.is_repeated, again.amount_micro, again.owed_micro) == (moved.entry_id, True, 0, 900)
    assert problems() == []


def test_a_claw_back_takes_paid_credits_before_granted_ones(door: Door, alice: Payer) -> None:
    door.commit([give(alice, 300)])
    door.commit([claw_back(alice, 1_100)])
    assert (purse(alice), remaining(alice)) == ((200, 0), {300: 200})
    assert Entry.objects.get(kind="claw_back").granted_micro == 100
    assert problems() == []


@pytest.mark.parametrize(("amount", "repaid", "available"), [(400, 400, 0), (600, 600, 0), (1_000, 600, 400)])
def test_a_top_up_pays_what_is_owed_first(door: Door, alice: Payer, amount: int, repaid: int, available: int) -> None:
    charged(door, alice, 1_000)
    door.commit([claw_back(alice, 600)])
    asked = top_up(alice, amount)
    moved = only(Moved, door.commit([asked]))
    assert (moved.balance_before_micro, moved.balance_after_micro, moved.amount_micro) == (0, available, amount)
    assert entries(alice)[3:] == [(4, "top_up", amount, 0, amount), (5, "repayment", repaid, amount, available)]
    row = Entry.objects.get(kind="repayment")
    assert (row.debit, row.credit, row.operation_id) == (CUSTOMER, RECEIVABLE, asked.operation_id)
    assert (purse(alice), owes(alice)) == ((available, 0), 600 - repaid)
    again = only(Moved, door.commit([asked], is_repeat=True))
    assert (again.balance_before_micro, again.balance_after_micro, again.is_repeated) == (0, available, True)
    assert (purse(alice), owes(alice)) == ((available, 0), 600 - repaid)
    assert problems() == []


def test_refunds_and_corrections_pay_what_is_owed_and_grants_do_not(door: Door, alice: Payer) -> None:
    door.commit([give(alice, 50)])
    call = charged(door, alice, 1_050)
    door.commit([claw_back(alice, 600)])
    door.commit([give(alice, 30)])
    assert (purse(alice), owes(alice)) == ((30, 0), 600)
    door.commit([refund(alice, call, 100)])
    assert (purse(alice), owes(alice)) == ((30, 0), 500)
    door.commit([move(alice, "correction", 200, debit=ADJUSTMENT)])
    assert (purse(alice), owes(alice)) == ((30, 0), 300)
    # Of the rest of that charge, fifty were never paid for: they are no payment of a debt either.
    door.commit([refund(alice, call, 950)])
    assert (purse(alice), owes(alice)) == ((680, 0), 0)
    last = Entry.objects.filter(kind="refund").order_by("-seq")[0]
    assert (last.amount_micro, last.granted_micro) == (950, 50)
    assert problems() == []


def test_what_is_owed_stays_countable(door: Door, alice: Payer) -> None:
    charged(door, alice, 1_000)
    door.commit([claw_back(alice, MAX_MICRO)])
    refused = only(MoveRefused, door.commit([claw_back(alice, 1)]))
    assert str(refused) == "the account would owe more than 9007199254.740991 credits"
    assert owes(alice) == MAX_MICRO
