"""Insurance pays back of a charge: with it or later, once, up to the day's cap, whichever way it is committed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F

from apps.accounts.models import Account, Notification
from apps.accounts.services import set_account
from apps.core.money import MAX_MICRO, Credits
from apps.ledger import services
from apps.ledger.books import COMPENSATION, CUSTOMER, INSURANCE
from apps.ledger.budgets import tend_windows
from apps.ledger.models import Balance, BudgetWindow, ClosedWindow, Entry, Grant
from apps.ledger.operations import (
    Guard,
    Hold,
    Move,
    Moved,
    MoveRefused,
    NotOwed,
    Outcome,
    Release,
    Settle,
    Settled,
)
from apps.usage.models import UsageRecord
from tests.ledger.contract import Door, Payer, entries, only, purse, windows


def served(
    door: Door, payer: Payer, charge: int, *, percent: int = 25, is_stream: bool = False
) -> tuple[Hold, Outcome]:
    """A call that was slow, from its hold to its receipt."""
    asked = payer.hold(charge)
    door.commit([asked])
    return asked, door.commit([slow(payer, asked, charge, percent=percent, is_stream=is_stream)])[0]


def slow(payer: Payer, asked: Hold, charge: int, *, percent: int = 25, is_stream: bool = False) -> Settle:
    settlement = payer.settle(asked, charge)
    settlement.payout_percent, settlement.defers_payout = percent, is_stream
    settlement.record.is_stream = is_stream
    settlement.record.claim, settlement.record.claim_trigger = "paid", "latency"
    return settlement


def payout(asked: Hold, amount: int) -> Move:
    """What a stream's payout asks for."""
    return Move(asked.request_id, asked.account_id, COMPENSATION, INSURANCE, CUSTOMER, amount, reason="latency")


def cap(payer: Payer, micro: int | None) -> None:
    amount = None if micro is None else Credits(micro)
    set_account(account_id=payer.account_id, actor="tests", insurance_cap=amount)


def claim(asked: Hold) -> tuple[str, str, int, int]:
    """`(claim, trigger, due, paid)` as the usage record says."""
    row = UsageRecord.objects.get(request_id=asked.request_id)
    return row.claim, row.claim_trigger, row.due_micro, row.compensated_micro


def paid_today(payer: Payer) -> list[int]:
    days = BudgetWindow.objects.filter(account_id=payer.account_id, scope=COMPENSATION, held_micro=0)
    return list(days.order_by("starts_at").values_list("spent_micro", flat=True))


def test_an_account_starts_with_a_cap_of_ten_thousand_credits(ledger_db: None, alice: Payer) -> None:
    assert Account.objects.get().insurance_cap_micro == 10_000_000_000


def test_a_slow_call_is_charged_and_compensated_in_one_step(door: Door, alice: Payer) -> None:
    asked, receipt = served(door, alice, 12)
    # The receipt tells the balance after the charge, before the payout.
    assert receipt == Settled(12, 1_000, 988, compensated_micro=3)
    assert entries(alice)[1:] == [(2, "charge", 12, 1_000, 988), (3, "compensation", 3, 988, 991)]
    row = Entry.objects.get(kind="compensation")
    assert (row.operation_id, row.debit, row.credit, row.granted_micro, row.reason) == (
        asked.request_id, "house:insurance", "customer", 0, "latency",
    )  # fmt: skip
    assert (claim(asked), purse(alice), paid_today(alice)) == (("paid", "latency", 3, 3), (991, 0), [3])


@pytest.mark.parametrize(("charge", "percent", "paid"), [(15, 25, 3), (3, 25, 0), (999, 100, 999), (0, 25, 0)])
def test_a_payout_is_rounded_down_and_nothing_is_no_claim(
    door: Door, alice: Payer, charge: int, percent: int, paid: int
) -> None:
    asked, receipt = served(door, alice, charge, percent=percent)
    assert isinstance(receipt, Settled)
    assert receipt.compensated_micro == paid
    assert claim(asked) == (("paid", "latency", paid, paid) if paid else ("not_triggered", "", 0, 0))
    assert paid_today(alice) == ([paid] if paid else [])


def test_what_the_house_absorbed_is_not_insured(door: Door, alice: Payer) -> None:
    door.commit([alice.hold(992)])
    asked = alice.hold(8)
    door.commit([asked])
    receipt = only(Settled, door.commit([slow(alice, asked, 100)]))
    assert (receipt.charge_micro, receipt.absorbed_micro, receipt.compensated_micro) == (8, 92, 2)


def test_a_settlement_told_again_pays_nothing_more(door: Door, alice: Payer) -> None:
    asked, first = served(door, alice, 12)
    again = only(Settled, door.commit([slow(alice, asked, 12)], is_repeat=True))
    assert isinstance(first, Settled)
    assert (again.is_repeated, again.compensated_micro, again.balance_after_micro) == (True, 3, 988)
    assert (purse(alice), paid_today(alice)) == ((991, 0), [3])


def test_a_payout_reopens_no_budget(door: Door, alice: Payer) -> None:
    guard = Guard("account", "daily", 100, "account_budget_exhausted")
    asked = alice.hold(100, guards=(guard,))
    door.commit([asked])
    door.commit([slow(alice, asked, 100)])
    assert windows(alice)["account", "daily"] == (100, 0)


def test_a_payout_pays_no_debt_and_is_no_grant(door: Door, alice: Payer) -> None:
    asked = alice.hold(800)
    door.commit([asked])
    services.claw_back(account_id=alice.account_id, amount=Credits(900), reference="back", actor="tests")
    receipt = only(Settled, door.commit([slow(alice, asked, 800)]))
    assert receipt.compensated_micro == 200
    row = Balance.objects.get(account_id=alice.account_id)
    assert (row.balance_micro, row.owed_micro) == (200, 700)
    assert Grant.objects.count() == 0


def test_what_granted_credits_paid_for_comes_back_as_ordinary_ones(door: Door, alice: Payer) -> None:
    services.grant(account_id=alice.account_id, amount=Credits(40), reference="gift", actor="tests")
    _, receipt = served(door, alice, 40)
    assert isinstance(receipt, Settled)
    assert receipt.compensated_micro == 10
    assert (Grant.objects.get().remaining_micro, purse(alice)) == (0, (1_010, 0))


def test_a_stream_is_charged_now_and_paid_for_later_once(door: Door, alice: Payer) -> None:
    asked, receipt = served(door, alice, 12, is_stream=True)
    assert receipt == Settled(12, 1_000, 988)
    assert (claim(asked), purse(alice), paid_today(alice)) == (("due", "latency", 3, 0), (988, 0), [])
    first = only(Moved, door.commit([payout(asked, 3)]))
    again = only(Moved, door.commit([payout(asked, 3)], is_repeat=True))
    assert (first.amount_micro, first.balance_before_micro, first.balance_after_micro) == (3, 988, 991)
    assert (again.is_repeated, again.amount_micro, again.entry_id) == (True, 3, first.entry_id)
    assert (purse(alice), paid_today(alice)) == ((991, 0), [3])


def test_two_payouts_in_one_batch_are_one(door: Door, alice: Payer) -> None:
    asked, _ = served(door, alice, 12, is_stream=True)
    outcomes = door.commit([payout(asked, 3), payout(asked, 3)])
    assert [outcome.is_repeated for outcome in outcomes if isinstance(outcome, Moved)] == [False, True]
    assert purse(alice) == (991, 0)


def test_no_more_is_paid_than_was_charged_and_nothing_for_what_was_not(door: Door, alice: Payer) -> None:
    asked, _ = served(door, alice, 12, is_stream=True)
    assert isinstance(door.commit([payout(asked, 13)])[0], MoveRefused)
    assert isinstance(door.commit([payout(alice.hold(5), 1)])[0], MoveRefused)
    assert purse(alice) == (988, 0)


def test_the_days_cap_leaves_a_part_and_then_nothing(door: Door, alice: Payer) -> None:
    cap(alice, 5)
    claims = []
    for _ in range(3):
        asked, receipt = served(door, alice, 16)
        assert isinstance(receipt, Settled)
        claims.append((receipt.compensated_micro, claim(asked)))
    assert claims == [
        (4, ("paid", "latency", 4, 4)),
        (1, ("capped", "latency", 4, 1)),
        (0, ("capped", "latency", 4, 0)),
    ]
    stream, _ = served(door, alice, 16, is_stream=True)
    assert isinstance(door.commit([payout(stream, 4)])[0], MoveRefused)
    assert paid_today(alice) == [5]
    cap(alice, None)
    assert only(Moved, door.commit([payout(stream, 4)])).amount_micro == 4


def test_many_of_one_batch_share_the_cap(door: Door, alice: Payer) -> None:
    cap(alice, 5)
    holds = [alice.hold(16) for _ in range(3)]
    door.commit(list(holds))
    receipts = door.commit([slow(alice, asked, 16) for asked in holds])
    assert [receipt.compensated_micro for receipt in receipts if isinstance(receipt, Settled)] == [4, 1, 0]


def test_the_next_day_begins_at_nothing(door: Door, alice: Payer) -> None:
    cap(alice, 4)
    served(door, alice, 16)
    BudgetWindow.objects.update(starts_at=F("starts_at") - timedelta(days=1))
    _, receipt = served(door, alice, 16)
    assert isinstance(receipt, Settled)
    assert receipt.compensated_micro == 4
    assert paid_today(alice) == [4, 4]


def test_a_day_that_was_closed_under_way_is_counted_on(door: Door, alice: Payer) -> None:
    cap(alice, 5)
    served(door, alice, 16)
    row = BudgetWindow.objects.get(scope=COMPENSATION)
    ClosedWindow.objects.create(
        account_id=row.account_id, scope=row.scope, period=row.period, starts_at=row.starts_at, spent_micro=4,
        closed_at=row.starts_at,
    )  # fmt: skip
    row.delete()
    _, receipt = served(door, alice, 16)
    assert isinstance(receipt, Settled)
    assert receipt.compensated_micro == 1
    assert paid_today(alice) == [5]


def test_no_balance_grows_beyond_what_we_can_count(door: Door, alice: Payer) -> None:
    asked, _ = served(door, alice, 12, is_stream=True)
    services.top_up(
        account_id=alice.account_id, amount=Credits(MAX_MICRO - 988 - 1), reference="all there is", actor="tests"
    )
    assert only(Moved, door.commit([payout(asked, 3)])).amount_micro == 1


def test_a_charge_given_back_because_its_call_failed_takes_its_payout_along(door: Door, alice: Payer) -> None:
    asked, _ = served(door, alice, 12)
    door.commit([Release(asked.request_id, alice.account_id, None, annuls=True)], is_repeat=True)
    assert [(kind, amount) for _, kind, amount, *_ in entries(alice)[1:]] == [
        ("charge", 12), ("compensation", 3), ("correction", 9),
    ]  # fmt: skip
    assert purse(alice) == (1_000, 0)
    stream, _ = served(door, alice, 12, is_stream=True)
    door.commit([Release(stream.request_id, alice.account_id, None, annuls=True)], is_repeat=True)
    assert isinstance(door.commit([payout(stream, 3)])[0], NotOwed)
    assert purse(alice) == (1_000, 0)


def test_a_refund_and_a_payout_are_two_things(door: Door, alice: Payer) -> None:
    asked, _ = served(door, alice, 12)
    services.refund(account_id=alice.account_id, request_id=asked.request_id, reference="sorry", actor="tests")
    assert purse(alice) == (1_003, 0)


def test_the_account_hears_once_a_day_that_its_cap_is_reached(door: Door, alice: Payer) -> None:
    cap(alice, 5)
    served(door, alice, 16)
    tend_windows()
    assert not Notification.objects.exists()
    served(door, alice, 16)
    tend_windows()
    tend_windows()
    told = Notification.objects.get()
    assert (told.kind, told.message) == (
        "insurance_cap",
        "Insurance paid 0.000005 credits: no more of them on this day (UTC).",
    )
