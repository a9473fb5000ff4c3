"""Credits that nobody paid for, whichever way they are committed: used first, gone when their time is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from apps.core import clock
from apps.core.ids import new_id
from apps.core.money import MAX_MICRO
from apps.ledger.books import CASH, CUSTOMER, PROMOTION
from apps.ledger.models import Balance, Entry, Grant
from apps.ledger.operations import Granted, Guard, HoldRefused, Move, Moved, MoveRefused, Release, Settled, Waiting
from apps.ledger.store.statements import Statements
from apps.ledger.sweeper import sweep_grants
from tests.ledger.contract import (
    Door,
    Payer,
    StoreDoor,
    backend_store,
    entries,
    logged,
    only,
    problems,
    purse,
    remaining,
)

HOUR = timedelta(hours=1)
MINUTE_AGO = timedelta(minutes=-1)


def give(
    payer: Payer, amount: int, *, ends: timedelta | None = None, priority: int = 0, age: timedelta = timedelta()
) -> Move:
    """A grant that ends so long from now, on the store's clock within a second or two."""
    moment = new_id()
    return Move(
        moment,
        payer.account_id,
        "grant",
        PROMOTION,
        CUSTOMER,
        amount,
        reference=f"grant of {amount}",
        priority=priority,
        expires_at=None if ends is None else clock.now() + ends,
    )


def top_up(payer: Payer, amount: int) -> Move:
    return Move(new_id(), payer.account_id, "top_up", CASH, CUSTOMER, amount)


def take(payer: Payer, amount: int) -> Move:
    return Move(new_id(), payer.account_id, "correction", CUSTOMER, CASH, amount)


def end_grants(payer: Payer, *, amount: int | None = None) -> None:
    """Let the time of grants be over since a minute."""
    grants = Grant.objects.filter(account_id=payer.account_id)
    (grants if amount is None else grants.filter(amount_micro=amount)).update(expires_at=clock.now() + MINUTE_AGO)


def call(door: Door, payer: Payer, charge: int) -> Settled:
    """A call that holds what it costs."""
    asked = payer.hold(charge)
    only(Granted, door.commit([asked]))
    return only(Settled, door.commit([payer.settle(asked, charge)]))


def granted_parts(payer: Payer) -> list[tuple[str, int, int]]:
    """`(kind, amount, what of it nobody paid for)` of every entry, in order."""
    rows = Entry.objects.filter(account_id=payer.account_id).order_by("seq")
    return list(rows.values_list("kind", "amount_micro", "granted_micro"))


def test_a_grant_is_an_entry_and_a_row_with_what_remains(door: Door, alice: Payer) -> None:
    asked = give(alice, 300, ends=HOUR, priority=2)
    moved = only(Moved, door.commit([asked]))
    assert (moved.balance_before_micro, moved.balance_after_micro, moved.amount_micro) == (1_000, 1_300, 300)
    row = Grant.objects.get()
    assert (row.id, row.account_id, row.amount_micro, row.remaining_micro, row.priority, row.expires_at) == (
        asked.operation_id,
        alice.account_id,
        300,
        300,
        2,
        asked.expires_at,
    )
    entry = Entry.objects.get(kind="grant")
    assert (entry.debit, entry.credit, entry.granted_micro, entry.operation_id) == (PROMOTION, CUSTOMER, 300, row.id)
    again = only(Moved, door.commit([asked], is_repeat=True))
    assert (again.is_repeated, again.entry_id, purse(alice)) == (True, entry.id, (1_300, 0))
    assert Grant.objects.get().remaining_micro == 300
    assert problems() == []


def test_granted_credits_are_used_before_paid_ones(door: Door, alice: Payer) -> None:
    door.commit([give(alice, 300)])
    assert call(door, alice, 200) == Settled(200, 1_300, 1_100)
    assert remaining(alice) == {300: 100}
    call(door, alice, 250)
    assert remaining(alice) == {300: 0}
    call(door, alice, 50)
    assert granted_parts(alice)[2:] == [("charge", 200, 200), ("charge", 250, 100), ("charge", 50, 0)]
    assert purse(alice) == (800, 0)
    assert problems() == []


def test_grants_are_used_by_priority_then_expiry_then_age(door: Door, alice: Payer) -> None:
    door.commit([give(alice, 14)])
    door.commit([give(alice, 15)])
    door.commit([give(alice, 13, ends=2 * HOUR), give(alice, 12, ends=HOUR)])
    door.commit([give(alice, 16, ends=HOUR, priority=1), give(alice, 11, ends=3 * HOUR, priority=0)])
    order = [12, 13, 11, 14, 15, 16]
    for used in range(1, len(order) + 1):
        call(door, alice, order[used - 1])
        left = dict.fromkeys(order[:used], 0) | {amount: amount for amount in order[used:]}
        assert remaining(alice) == left
    assert problems() == []


def test_several_grants_may_pay_for_one_call_and_paid_credits_the_rest(door: Door, alice: Payer) -> None:
    door.commit([give(alice, 100), give(alice, 50, ends=HOUR)])
    assert call(door, alice, 400) == Settled(400, 1_150, 750)
    assert granted_parts(alice)[-1] == ("charge", 400, 150)
    assert remaining(alice) == {100: 0, 50: 0}


def test_grants_and_what_uses_them_may_share_a_batch(door: Door, alice: Payer) -> None:
    asked = alice.hold(1_000)
    door.commit([asked])
    later = alice.hold(60, least=1)
    outcomes = door.commit([later, give(alice, 300), alice.settle(asked, 1_100)])
    assert [type(outcome) for outcome in outcomes] == [Granted, Moved, Settled]
    assert granted_parts(alice)[-1] == ("charge", 1_100, 300)
    assert (purse(alice), remaining(alice)) == ((200, 50), {300: 0})
    assert problems() == []


def test_an_expired_grant_is_of_no_use_to_a_hold(door: Door, alice: Payer) -> None:
    door.commit([give(alice, 300, ends=HOUR)])
    end_grants(alice)
    refused = only(HoldRefused, door.commit([alice.hold(1_001)]))
    assert refused.code == "insufficient_credits"
    assert refused.facts is not None
    assert (refused.facts.value, refused.facts.available) == (1_000, 1_000)
    assert only(Granted, door.commit([alice.hold(1_000)])).amount_micro == 1_000
    assert granted_parts(alice)[-1] == ("expiry", 300, 300)
    entry = Entry.objects.get(kind="expiry")
    assert (entry.debit, entry.credit, entry.subject_id) == (CUSTOMER, PROMOTION, Grant.objects.get().id)
    assert (purse(alice), remaining(alice)) == ((1_000, 1_000), {300: 0})
    assert problems() == []


def test_a_quarter_is_taken_of_what_has_not_expired(door: Door, alice: Payer) -> None:
    door.commit([give(alice, 3_000, ends=HOUR), give(alice, 400, ends=2 * HOUR)])
    end_grants(alice, amount=3_000)
    assert only(Granted, door.commit([alice.hold(9_000, least=1)])).amount_micro == 350


def test_only_what_of_a_grant_is_left_expires(door: Door, alice: Payer) -> None:
    door.commit([give(alice, 300, ends=HOUR)])
    call(door, alice, 120)
    end_grants(alice)
    call(door, alice, 10)
    assert granted_parts(alice)[2:] == [("charge", 120, 120), ("expiry", 180, 180), ("charge", 10, 0)]
    assert purse(alice) == (990, 0)
    assert problems() == []


def test_what_an_open_hold_covers_expires_when_it_ends(door: Door, alice: Payer) -> None:
    door.commit([give(alice, 300, ends=HOUR)])
    asked = alice.hold(1_200)
    door.commit([asked])
    end_grants(alice)
    # Nothing of the two hundred that only the hold covers is there for anybody else.
    refused = only(HoldRefused, door.commit([alice.hold(1_001)]))
    assert (refused.code, purse(alice), remaining(alice)) == ("insufficient_credits", (1_200, 1_200), {300: 200})
    assert isinstance(door.commit([alice.hold(1_000)])[0], Waiting)
    assert only(Settled, door.commit([alice.settle(asked, 150)])) == Settled(150, 1_200, 1_050)
    assert granted_parts(alice)[2:] == [("expiry", 100, 100), ("charge", 150, 150), ("expiry", 50, 50)]
    assert (purse(alice), remaining(alice)) == ((1_000, 0), {300: 0})
    assert only(Granted, door.commit([alice.hold(1_000)])).amount_micro == 1_000
    assert problems() == []


def test_a_call_admitted_in_time_is_paid_with_what_it_was_admitted_on(door: Door, alice: Payer) -> None:
    door.commit([give(alice, 300, ends=HOUR)])
    asked = alice.hold(1_300)
    door.commit([asked])
    end_grants(alice)
    settlement = alice.settle(asked, 1_300)
    assert only(Settled, door.commit([settlement])) == Settled(1_300, 1_300, 0)
    assert (purse(alice), logged(asked)["absorbed_micro"]) == ((0, 0), 0)
    assert problems() == []


def test_a_call_takes_nothing_beyond_its_hold_from_what_has_expired(door: Door, alice: Payer) -> None:
    door.commit([give(alice, 300, ends=HOUR)])
    asked, other = alice.hold(700), alice.hold(500)
    door.commit([asked, other])
    end_grants(alice)
    assert only(Settled, door.commit([alice.settle(asked, 900)])) == Settled(700, 1_200, 500, absorbed_micro=200)
    assert (purse(alice), remaining(alice)) == ((500, 500), {300: 0})
    assert problems() == []


@pytest.mark.parametrize("end", ["release", "expire"])
def test_what_a_call_gives_back_after_the_expiry_is_gone_at_once(door: Door, alice: Payer, end: str) -> None:
    door.commit([give(alice, 300, ends=HOUR)])
    asked = alice.hold(1_300)
    door.commit([asked])
    end_grants(alice)
    outcomes = door.commit([alice.hold(1_001), alice.release(asked) if end == "release" else alice.expire(asked)])
    assert isinstance(outcomes[0], HoldRefused)
    assert (purse(alice), remaining(alice)) == ((1_000, 0), {300: 0})
    assert problems() == []


def test_any_operation_ends_what_has_expired_and_a_repeat_ends_nothing_more(door: Door, alice: Payer) -> None:
    door.commit([give(alice, 300, ends=HOUR)])
    end_grants(alice)
    nothing = Release(new_id(), alice.account_id, None)
    door.commit([nothing])
    door.commit([nothing], is_repeat=True)
    assert granted_parts(alice)[2:] == [("expiry", 300, 300)]
    assert purse(alice) == (1_000, 0)


def test_another_accounts_grants_are_left_alone(door: Door, alice: Payer, charlie: Payer) -> None:
    door.commit([give(alice, 300, ends=HOUR), give(charlie, 200, ends=HOUR)])
    end_grants(charlie)
    call(door, alice, 100)
    assert (remaining(alice), remaining(charlie)) == ({300: 200}, {200: 200})
    call(door, charlie, 100)
    assert (remaining(alice), remaining(charlie)) == ({300: 200}, {200: 0})
    assert (purse(alice), purse(charlie)) == ((1_200, 0), (900, 0))


def test_what_takes_back_takes_paid_credits_first(door: Door, alice: Payer) -> None:
    door.commit([give(alice, 300)])
    door.commit([take(alice, 900)])
    assert remaining(alice) == {300: 300}
    door.commit([take(alice, 150)])
    assert granted_parts(alice)[2:] == [("correction", 900, 0), ("correction", 150, 50)]
    assert (purse(alice), remaining(alice)) == ((250, 0), {300: 250})
    assert isinstance(door.commit([take(alice, 251)])[0], MoveRefused)
    assert problems() == []


def test_a_taking_does_not_count_what_has_expired(door: Door, alice: Payer) -> None:
    door.commit([give(alice, 300, ends=HOUR)])
    end_grants(alice)
    refused = only(MoveRefused, door.commit([take(alice, 1_001)]))
    assert str(refused) == "0.001001 credits are more than the 0.001 that are available"


def test_the_sweep_ends_what_expired_in_idle_accounts(door: Door, alice: Payer, charlie: Payer) -> None:
    door.commit([give(alice, 300, ends=HOUR), give(alice, 50), give(charlie, 200, ends=HOUR)])
    covered = charlie.hold(1_150)
    door.commit([covered])
    end_grants(alice, amount=300)
    end_grants(charlie)
    assert sweep_grants() == 2
    assert (purse(alice), purse(charlie)) == ((1_050, 0), (1_150, 1_150))
    assert sweep_grants() == 0
    door.commit([charlie.release(covered)])
    assert sweep_grants() == 0
    assert (remaining(alice), remaining(charlie)) == ({300: 0, 50: 50}, {200: 0})
    assert problems() == []


def test_a_balance_stays_countable(door: Door, alice: Payer) -> None:
    refused = only(MoveRefused, door.commit([top_up(alice, MAX_MICRO - 999)]))
    assert str(refused) == "the balance would exceed 9007199254.740991 credits"
    door.commit([top_up(alice, MAX_MICRO - 1_000)])
    assert purse(alice) == (MAX_MICRO, 0)


def test_a_quote_beyond_all_reason_is_settled_all_the_same(door: Door, alice: Payer) -> None:
    """What an upstream reports must never make a call impossible to settle."""
    asked = alice.hold(400)
    door.commit([asked])
    receipt = only(Settled, door.commit([alice.settle(asked, 2**70)]))
    assert receipt == Settled(1_000, 1_000, 0, absorbed_micro=MAX_MICRO - 1_000)
    assert (purse(alice), logged(asked)["absorbed_micro"]) == ((0, 0), MAX_MICRO - 1_000)
    assert problems() == []


def test_no_entry_is_dated_before_the_one_it_follows(door: Door, alice: Payer) -> None:
    """Whoever waited for the account's lock may have begun before the other."""
    ahead = datetime.now(UTC) + HOUR
    Balance.objects.filter(account_id=alice.account_id).update(moved_at=ahead)
    call(door, alice, 10)
    assert Entry.objects.get(kind="charge").created_at == ahead
    assert Balance.objects.get(account_id=alice.account_id).moved_at == ahead
    assert entries(alice)[1] == (2, "charge", 10, 1_000, 990)


def test_grants_cost_a_batch_no_round_trip(ledger_db: None, alice: Payer, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL: read with what else is read under the lock, written with what else is written."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no round trips")
    trips: list[int] = []
    answers = Statements.answers

    async def counted(statements: Statements) -> list[bytes | None]:
        trips.append(1)
        return await answers(statements)

    door = StoreDoor(backend_store())
    try:
        door.commit([give(alice, 300), give(alice, 40, ends=HOUR)])
        asked = alice.hold(200, guards=(Guard("account", "daily", 900, "account_budget_exhausted"),))
        windows = only(Granted, door.commit([asked])).windows
        monkeypatch.setattr(Statements, "answers", counted)
        door.commit([alice.hold(50, guards=asked.guards)])
        assert len(trips) == 2
        end_grants(alice, amount=40)
        door.commit([alice.settle(asked, 150, windows=windows)])
        assert len(trips) == 4
    finally:
        door.close()
    assert remaining(alice) == {300: 150, 40: 0}
