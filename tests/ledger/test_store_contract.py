"""Holds, whichever way they are committed: what is granted, what is refused, what is worth waiting for."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from apps.accounts.models import Account
from apps.core.errors import LimitFacts
from apps.core.ids import new_id
from apps.keys.models import ApiKey
from apps.ledger.models import Balance, BudgetWindow
from apps.ledger.models import Hold as HoldRow
from apps.ledger.operations import BadOperation, Granted, Guard, HeldWindow, HoldRefused, Settled, Waiting
from apps.ledger.rules import DAILY, EPOCH, HOURLY, LIFETIME, window_start
from apps.ledger.store.orm import held_windows
from tests.ledger.contract import Door, Payer, add_key, hold_state, only, purse, windows

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@pytest.mark.parametrize(
    ("wanted", "least", "granted"),
    [
        (100, 10, 100),  # a quarter of what is usable is more than is wanted
        (600, 10, 250),  # a quarter
        (600, 400, 400),  # its least, where that is more than a quarter
        (5_000, 1_000, 1_000),  # all there is
        (700, 700, 700),  # strict
        (0, 0, 0),  # a free call holds nothing, and is on file all the same
    ],
)
def test_a_hold_is_granted_its_share(door: Door, alice: Payer, wanted: int, least: int, granted: int) -> None:
    asked = alice.hold(wanted, least=least)
    grant = only(Granted, door.commit([asked]))
    assert (grant.amount_micro, grant.windows) == (granted, ())
    assert purse(alice) == (1_000, granted)
    row = HoldRow.objects.get(request_id=asked.request_id)
    assert (row.account_id, row.key_id, row.model_id, row.process_id, row.state, row.amount_micro, row.windows) == (
        alice.account_id,
        alice.key_id,
        "claude-sonnet-4-7",
        alice.process_id,
        "open",
        granted,
        [],
    )


def test_a_quarter_is_taken_of_what_other_holds_left(door: Door, alice: Payer) -> None:
    door.commit([alice.hold(600)])
    assert only(Granted, door.commit([alice.hold(5_000, least=1)])).amount_micro == 100
    assert purse(alice) == (1_000, 700)


def test_a_quarter_is_rounded_down_and_never_below_the_least(door: Door, alice: Payer) -> None:
    door.commit([alice.hold(997)])
    assert only(Granted, door.commit([alice.hold(9, least=0)])).amount_micro == 0
    assert only(Granted, door.commit([alice.hold(9, least=2)])).amount_micro == 2


def test_a_hold_without_enough_balance_is_refused_with_what_is_missing(door: Door, alice: Payer) -> None:
    refusal = only(HoldRefused, door.commit([alice.hold(5_000, least=1_001)]))
    assert (refusal.code, refusal.status, refusal.kind.should_retry) == ("insufficient_credits", 402, False)
    assert refusal.facts == LimitFacts("insufficient_credits", 1_000, 0, is_money=True, needed=1_001, available=1_000)
    assert purse(alice) == (1_000, 0)


def test_a_hold_that_only_holds_stand_in_the_way_of_waits(door: Door, alice: Payer) -> None:
    first = alice.hold(700)
    door.commit([first])
    waiting = only(Waiting, door.commit([alice.hold(400)]))
    assert (waiting.refusal.code, waiting.refusal.status) == ("credits_reserved", 429)
    assert waiting.refusal.facts == LimitFacts("credits_reserved", 1_000, 700, is_money=True, needed=400, available=300)
    door.commit([alice.release(first)])
    assert only(Granted, door.commit([alice.hold(400)])).amount_micro == 400


GUARDS = [
    (Guard("key:k", LIFETIME, 300, "key_limit_exhausted"), None),
    (Guard("key:k:claude-sonnet-4-7", LIFETIME, 300, "key_model_limit_exhausted"), None),
    (Guard("key:k", DAILY, 300, "key_budget_exhausted"), DAY),
    (Guard("key:k", HOURLY, 300, "key_budget_exhausted"), HOUR),
    (Guard("account", DAILY, 300, "account_budget_exhausted"), DAY),
]


@pytest.mark.parametrize(("guard", "length"), GUARDS, ids=lambda value: getattr(value, "code", ""))
def test_a_guard_bounds_what_is_granted_and_spent(
    door: Door, alice: Payer, guard: Guard, length: timedelta | None
) -> None:
    asked = alice.hold(200, guards=(guard,))
    grant = only(Granted, door.commit([asked]))
    assert grant.now is not None
    window = HeldWindow(guard.scope, guard.period, window_start(guard.period, grant.now), 300)
    assert grant.windows == (window,)
    assert held_windows(HoldRow.objects.get(request_id=asked.request_id).windows) == (window,)
    assert windows(alice) == {(guard.scope, guard.period): (0, 200)}

    # A quarter of the hundred that the window leaves, though the account has eight hundred.
    assert only(Granted, door.commit([alice.hold(90, least=10, guards=(guard,))])).amount_micro == 25
    waiting = only(Waiting, door.commit([alice.hold(101, guards=(guard,))]))
    assert waiting.refusal.facts is not None
    assert (waiting.refusal.code, waiting.refusal.facts.available) == ("credits_reserved", 75)

    assert only(Settled, door.commit([alice.settle(asked, 210)])).charge_micro == 210
    assert windows(alice) == {(guard.scope, guard.period): (210, 25)}
    refusal = only(HoldRefused, door.commit([alice.hold(91, guards=(guard,))]))
    resets_at = None if length is None else window.starts_at + length
    assert (refusal.code, refusal.status) == (guard.code, 402)
    assert refusal.facts == LimitFacts(
        guard.code, 300, 210, resets_at=resets_at, is_money=True, needed=91, available=65
    )
    assert purse(alice) == (790, 25)


def test_the_tightest_of_several_guards_decides(door: Door, alice: Payer) -> None:
    guards = (
        Guard("key:k", LIFETIME, 800, "key_limit_exhausted"),
        Guard("key:k", HOURLY, 400, "key_budget_exhausted"),
        Guard("account", DAILY, 600, "account_budget_exhausted"),
    )
    grant = only(Granted, door.commit([alice.hold(5_000, least=40, guards=guards)]))
    assert grant.amount_micro == 100
    assert grant.windows[0] == HeldWindow("key:k", LIFETIME, EPOCH, 800)
    assert windows(alice) == {
        ("key:k", LIFETIME): (0, 100),
        ("key:k", HOURLY): (0, 100),
        ("account", DAILY): (0, 100),
    }
    refusal = only(HoldRefused, door.commit([alice.hold(401, guards=guards)]))
    assert refusal.code == "key_budget_exhausted"


def test_two_keys_share_their_accounts_budget(door: Door, alice: Payer) -> None:
    budget = Guard("account", DAILY, 300, "account_budget_exhausted")
    mine = Guard(f"key:{alice.key_id}", DAILY, 250, "key_budget_exhausted")
    other_key = add_key(alice.account_id)
    theirs = Guard(f"key:{other_key}", DAILY, 250, "key_budget_exhausted")
    first = alice.hold(200, guards=(mine, budget))
    outcomes = door.commit([first, alice.hold(150, guards=(theirs, budget), key_id=other_key)])
    assert [type(outcome) for outcome in outcomes] == [Granted, Waiting]
    door.commit([alice.settle(first, 200)])
    refusal = only(HoldRefused, door.commit([alice.hold(150, guards=(theirs, budget), key_id=other_key)]))
    assert refusal.code == "account_budget_exhausted"
    assert only(Granted, door.commit([alice.hold(100, guards=(theirs, budget), key_id=other_key)])).amount_micro == 100


def test_windows_of_two_accounts_never_mix(door: Door, alice: Payer, charlie: Payer) -> None:
    budget = Guard("account", DAILY, 300, "account_budget_exhausted")
    outcomes = door.commit([alice.hold(300, guards=(budget,)), charlie.hold(300, guards=(budget,))])
    assert [type(outcome) for outcome in outcomes] == [Granted, Granted]
    assert (purse(alice), purse(charlie)) == ((1_000, 300), (1_000, 300))


def test_a_budget_begins_anew_when_its_window_turns(door: Door, alice: Payer) -> None:
    hourly = Guard("key:k", HOURLY, 300, "key_budget_exhausted")
    asked = alice.hold(300, guards=(hourly,))
    granted = only(Granted, door.commit([asked]))
    door.commit([alice.settle(asked, 300, windows=granted.windows)])
    BudgetWindow.objects.update(starts_at=granted.windows[0].starts_at - HOUR)
    assert only(Granted, door.commit([alice.hold(300, guards=(hourly,))])).amount_micro == 300


def test_a_suspended_key_gets_no_further_hold(door: Door, alice: Payer) -> None:
    ApiKey.objects.update(status=ApiKey.Status.SUSPENDED)
    refusal = only(HoldRefused, door.commit([alice.hold(1)]))
    assert (refusal.code, refusal.status) == ("key_suspended", 403)


def test_an_expired_key_gets_no_further_hold(door: Door, alice: Payer) -> None:
    grant = only(Granted, door.commit([alice.hold(1)]))
    assert grant.now is not None
    ApiKey.objects.update(expires_at=grant.now + HOUR)
    assert only(Granted, door.commit([alice.hold(1)])).amount_micro == 1
    ApiKey.objects.update(expires_at=grant.now)
    refusal = only(HoldRefused, door.commit([alice.hold(1)]))
    assert (refusal.code, refusal.status) == ("key_expired", 403)


def test_a_frozen_account_gets_no_further_hold(door: Door, alice: Payer) -> None:
    Account.objects.update(status=Account.Status.FROZEN)
    refusal = only(HoldRefused, door.commit([alice.hold(1)]))
    assert (refusal.code, refusal.status) == ("account_frozen", 403)
    assert purse(alice) == (1_000, 0)


def test_a_key_that_is_gone_gets_no_hold(door: Door, alice: Payer) -> None:
    ApiKey.objects.all().delete()
    refusal = only(HoldRefused, door.commit([alice.hold(1)]))
    assert (refusal.code, refusal.status) == ("invalid_api_key", 401)


@pytest.mark.parametrize("is_alone", [True, False])
def test_an_account_without_a_balance_has_no_credits(door: Door, alice: Payer, charlie: Payer, is_alone: bool) -> None:
    Balance.objects.filter(account_id=charlie.account_id).delete()
    outcomes = door.commit([charlie.hold(1)] if is_alone else [charlie.hold(1), alice.hold(1)])
    assert isinstance(outcomes[0], HoldRefused)
    assert outcomes[0].code == "insufficient_credits"
    assert outcomes[0].facts == LimitFacts("insufficient_credits", 0, 0, is_money=True, needed=1, available=0)


@pytest.mark.parametrize("is_alone", [True, False])
def test_money_of_an_unknown_account_cannot_be_moved(door: Door, alice: Payer, is_alone: bool) -> None:
    stranger = Payer(uuid.UUID(int=7), new_id())
    settlement = stranger.settle(stranger.hold(5), 5)
    with pytest.raises(BadOperation):
        door.commit([settlement] if is_alone else [alice.hold(1), settlement])
    assert purse(alice) == (1_000, 0)


def test_a_repeated_hold_is_granted_once(door: Door, alice: Payer) -> None:
    guard = Guard("key:k", DAILY, 500, "key_budget_exhausted")
    asked = alice.hold(5_000, least=1, guards=(guard,))
    first = only(Granted, door.commit([asked]))
    again = only(Granted, door.commit([asked], is_repeat=True))
    assert (again.amount_micro, again.windows) == (first.amount_micro, first.windows) == (125, first.windows)
    assert purse(alice) == (1_000, 125)
    assert windows(alice) == {("key:k", DAILY): (0, 125)}


def test_a_repeated_hold_that_nobody_announced_holds_nothing_twice(door: Door, alice: Payer) -> None:
    asked = alice.hold(100)
    door.commit([asked])
    try:
        assert only(Granted, door.commit([asked])).amount_micro == 100
    except BadOperation:
        pass  # as good: the committer asks again with `is_repeat`
    assert purse(alice) == (1_000, 100)
    assert hold_state(asked) == "open"


def test_a_hold_in_the_same_batch_twice_is_granted_once(door: Door, alice: Payer) -> None:
    asked = alice.hold(100)
    first, second = door.commit([asked, asked])
    assert isinstance(first, Granted)
    assert isinstance(second, Granted)
    assert purse(alice) == (1_000, 100)


def test_a_hold_is_stamped_with_the_stores_clock(door: Door, alice: Payer) -> None:
    asked = alice.hold(1)
    grant = only(Granted, door.commit([asked]))
    assert grant.now is not None
    assert grant.now.utcoffset() == timedelta(0)
    assert HoldRow.objects.get(request_id=asked.request_id).created_at == grant.now
