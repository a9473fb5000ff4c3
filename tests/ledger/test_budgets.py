"""Budgets are told about and put into the history; twice, late or never, calls notice nothing."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest
from django.db import connection, connections, transaction
from django.db.models import F

from apps.accounts.models import Account, Notification
from apps.keys.models import ApiKey, ModelLimit
from apps.ledger.budgets import tend_windows
from apps.ledger.models import Balance, BudgetWindow, ClosedWindow
from apps.ledger.models import Hold as HoldRow
from apps.ledger.operations import Granted, Guard, Hold, HoldRefused, Settle, Settled
from apps.ledger.rules import DAILY, HOURLY, LIFETIME
from apps.usage.models import UsageRecord
from tests.ledger.contract import Door, OrmDoor, Payer, antedate, only, problems, purse, windows

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def guards_of(payer: Payer, limit: int = 500) -> tuple[Guard, ...]:
    """What the gateway asks for where every budget is set to `limit`."""
    scope = f"key:{payer.key_id}"
    return (
        Guard(scope, LIFETIME, limit, "key_limit_exhausted"),
        Guard(scope, DAILY, limit, "key_budget_exhausted"),
        Guard(scope, HOURLY, limit, "key_budget_exhausted"),
        Guard("account", DAILY, limit, "account_budget_exhausted"),
    )


def set_limits(payer: Payer, limit: int = 500) -> None:
    """The same where people set it."""
    ApiKey.objects.filter(id=payer.key_id).update(
        limit_micro=limit, daily_budget_micro=limit, hourly_budget_micro=limit
    )
    Account.objects.filter(id=payer.account_id).update(daily_budget_micro=limit)


def call(door: Door, payer: Payer, charge: int) -> Hold:
    """A call that was charged so much, under limits of 500."""
    asked = payer.hold(charge, guards=guards_of(payer))
    only(Granted, door.commit([asked]))
    only(Settled, door.commit([payer.settle(asked, charge)]))
    return asked


def let_days_pass(payer: Payer, days: int = 1) -> None:
    """Move everything that the account has so many days back; records, whose ids tell their time, are gone."""
    UsageRecord.objects.filter(account_id=payer.account_id).delete()
    spell = days * DAY
    budgets = BudgetWindow.objects.filter(account_id=payer.account_id).exclude(period=LIFETIME)
    budgets.update(starts_at=F("starts_at") - spell)
    for hold in HoldRow.objects.filter(account_id=payer.account_id):
        for window in hold.windows:
            if window["period"] != LIFETIME:
                window["starts_at"] = (datetime.fromisoformat(window["starts_at"]) - spell).isoformat()
        HoldRow.objects.filter(request_id=hold.request_id).update(
            windows=hold.windows, created_at=hold.created_at - spell
        )


def history(payer: Payer) -> dict[tuple[str, str], int]:
    rows = ClosedWindow.objects.filter(account_id=payer.account_id)
    return {(row.scope, row.period): row.spent_micro for row in rows}


def told() -> list[str]:
    return sorted(Notification.objects.filter(kind="budget").values_list("subject", flat=True))


def test_windows_whose_time_is_over_go_into_the_history(door: Door, alice: Payer) -> None:
    scope = f"key:{alice.key_id}"
    call(door, alice, 300)
    let_days_pass(alice)
    assert tend_windows() == 3
    assert windows(alice) == {(scope, LIFETIME): (300, 0)}
    assert history(alice) == {(scope, DAILY): 300, (scope, HOURLY): 300, ("account", DAILY): 300}
    assert tend_windows() == 0
    assert problems() == []


def test_windows_that_turn_later_stay(door: Door, alice: Payer) -> None:
    call(door, alice, 300)
    assert tend_windows() == 0
    assert (len(windows(alice)), history(alice)) == (4, {})


@pytest.mark.parametrize("job", ["never", "once", "twice"])
def test_calls_notice_nothing_of_it(door: Door, alice: Payer, job: str) -> None:
    scope = f"key:{alice.key_id}"
    call(door, alice, 300)
    let_days_pass(alice)
    for _ in range(["never", "once", "twice"].index(job)):
        tend_windows()
    asked = alice.hold(200, guards=guards_of(alice, 200 + 300))
    assert only(Granted, door.commit([asked])).amount_micro == 200
    refusal = only(HoldRefused, door.commit([alice.hold(201, guards=guards_of(alice))]))
    assert refusal.code == "key_limit_exhausted"
    assert only(Settled, door.commit([alice.settle(asked, 150)])).charge_micro == 150
    today = BudgetWindow.objects.filter(account_id=alice.account_id).order_by("-starts_at")
    assert today.filter(scope=scope, period=HOURLY).values_list("spent_micro", flat=True)[0] == 150
    assert today.filter(scope="account").values_list("spent_micro", flat=True)[0] == 150
    assert windows(alice)[scope, LIFETIME] == (450, 0)
    assert problems() == []


def test_a_window_that_an_open_hold_counts_in_is_not_closed(door: Door, alice: Payer) -> None:
    call(door, alice, 300)
    running = alice.hold(100, guards=guards_of(alice))
    door.commit([running])
    let_days_pass(alice)
    assert tend_windows() == 0
    door.commit([alice.settle(running, 120)])
    assert tend_windows() == 3
    assert history(alice)["account", DAILY] == 420
    assert problems() == []


def test_a_window_that_a_free_hold_counts_in_is_not_closed(door: Door, alice: Payer) -> None:
    running = alice.hold(0, guards=guards_of(alice))
    door.commit([running])
    let_days_pass(alice)
    assert tend_windows() == 0
    assert only(Settled, door.commit([alice.settle(running, 600)])).charge_micro == 500
    assert tend_windows() == 3
    assert problems() == []


def test_a_window_that_a_tombstone_counts_in_is_not_closed(door: Door, alice: Payer) -> None:
    late = alice.hold(100, guards=guards_of(alice))
    door.commit([late])
    door.commit([alice.expire(late)])
    let_days_pass(alice)
    assert tend_windows() == 0
    assert only(Settled, door.commit([alice.settle(late, 700)])).charge_micro == 500
    HoldRow.objects.all().delete()
    assert tend_windows() == 3
    assert history(alice)["account", DAILY] == 500
    assert problems() == []


def test_a_settlement_that_comes_after_its_tombstone_is_gone_fits_the_closed_budget(door: Door, alice: Payer) -> None:
    call(door, alice, 300)
    late = alice.hold(100, guards=guards_of(alice))
    granted = only(Granted, door.commit([late]))
    asked_in = antedate(late, hours=24)
    door.commit([alice.expire(late)])
    HoldRow.objects.all().delete()
    BudgetWindow.objects.filter(period=LIFETIME).delete()
    closed = tend_windows()
    assert (closed, granted.amount_micro) == (3, 100)
    receipt = only(Settled, door.commit([alice.settle(late, 900, windows=asked_in[1:])]))
    assert (receipt.charge_micro, receipt.absorbed_micro) == (200, 700)
    # It is open again, with all that was ever spent in it, until it is closed again.
    assert windows(alice)["account", DAILY] == (500, 0)
    assert tend_windows() == 3
    assert history(alice)["account", DAILY] == 500


def test_a_batch_that_waited_since_before_the_turn_finds_what_was_closed(door: Door, alice: Payer) -> None:
    """The clock of its transaction stands still while it waits for the account."""
    call(door, alice, 300)
    rows = list(BudgetWindow.objects.exclude(period=LIFETIME))
    ClosedWindow.objects.bulk_create(
        ClosedWindow(
            account_id=row.account_id,
            scope=row.scope,
            period=row.period,
            starts_at=row.starts_at,
            spent_micro=row.spent_micro,
            closed_at=row.starts_at,
        )
        for row in rows
    )
    BudgetWindow.objects.exclude(period=LIFETIME).delete()
    # The log may say less than was counted: its records tell when a call came in.
    UsageRecord.objects.all().delete()
    refusal = only(HoldRefused, door.commit([alice.hold(201, guards=guards_of(alice)[1:])]))
    assert refusal.facts is not None
    assert (refusal.code, refusal.facts.used) == ("key_budget_exhausted", 300)
    assert windows(alice)["account", DAILY] == (300, 0)


def test_another_accounts_windows_stay(door: Door, alice: Payer, charlie: Payer) -> None:
    call(door, alice, 300)
    call(door, charlie, 300)
    let_days_pass(alice)
    assert tend_windows() == 3
    assert (len(windows(charlie)), history(charlie)) == (4, {})


def test_each_threshold_is_told_once_per_window(door: Door, alice: Payer) -> None:
    set_limits(alice)
    scope = f"key:{alice.key_id}"
    call(door, alice, 399)
    tend_windows()
    assert told() == []
    call(door, alice, 1)
    tend_windows()
    tend_windows()
    start = {row.period: f"{row.starts_at:%Y-%m-%dT%H:%M:%SZ}" for row in BudgetWindow.objects.filter(scope=scope)}
    at_80 = sorted(
        [
            f"account daily {start[DAILY]} 80%",
            f"{scope} daily {start[DAILY]} 80%",
            f"{scope} hourly {start[HOURLY]} 80%",
            f"{scope} lifetime 1970-01-01T00:00:00Z 80%",
        ]
    )
    assert told() == at_80
    call(door, alice, 100)
    tend_windows()
    assert told() == sorted([*at_80, *(subject.replace("80%", "100%") for subject in at_80)])
    message = Notification.objects.get(subject=f"account daily {start[DAILY]} 100%").message
    assert message == "0.0005 of 0.0005 credits are spent (account, daily)."


def test_a_limit_of_one_model_is_told_about(door: Door, alice: Payer) -> None:
    ModelLimit.objects.create(key_id=alice.key_id, model_id="claude-sonnet-4-7", limit_micro=100)
    scope = f"key:{alice.key_id}:claude-sonnet-4-7"
    asked = alice.hold(90, guards=(Guard(scope, LIFETIME, 100, "key_model_limit_exhausted"),))
    door.commit([asked])
    door.commit([alice.settle(asked, 90)])
    tend_windows()
    assert told() == [f"{scope} lifetime 1970-01-01T00:00:00Z 80%"]


def test_a_window_that_filled_up_just_before_its_turn_is_told_about(door: Door, alice: Payer) -> None:
    set_limits(alice)
    call(door, alice, 500)
    let_days_pass(alice, 3)
    tend_windows()
    assert len([subject for subject in told() if "daily" in subject]) == 4


def test_nobody_is_told_of_budgets_that_are_not_set(door: Door, alice: Payer) -> None:
    call(door, alice, 500)
    tend_windows()
    assert told() == []


def test_a_busy_account_keeps_its_windows_until_next_time(ledger_db: None, alice: Payer, charlie: Payer) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one lock for all")
    door = OrmDoor()
    for payer in (alice, charlie):
        call(door, payer, 300)
        let_days_pass(payer)
    locked, done = threading.Event(), threading.Event()

    def keep_busy() -> None:
        try:
            with transaction.atomic():
                Balance.objects.select_for_update(no_key=True).get(account_id=alice.account_id)
                locked.set()
                done.wait(20)
        finally:
            connections.close_all()

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        assert locked.wait(5)
        assert tend_windows() == 3
    finally:
        done.set()
        busy.join(10)
    assert (history(alice), len(history(charlie))) == ({}, 3)
    assert tend_windows() == 3
    assert purse(alice) == (700, 0)


def test_a_hold_that_ended_meanwhile_gives_back_to_a_window_on_file(door: Door, alice: Payer) -> None:
    """However often the job ran since."""
    call(door, alice, 300)
    running = alice.hold(100, guards=guards_of(alice))
    windows_of_it = only(Granted, door.commit([running])).windows
    settlement = Settle(running.request_id, alice.account_id, 50, alice.record(running), windows_of_it)
    let_days_pass(alice)
    tend_windows()
    assert only(Settled, door.commit([settlement])).charge_micro == 50
    assert windows(alice)["account", DAILY] == (350, 0)
