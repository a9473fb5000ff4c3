"""The proof of the ledger: silent on sound books, and naming each kind of damage."""

from __future__ import annotations

import os
import threading
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections, transaction
from pytest_django import Settings

from apps.accounts.models import Account
from apps.core.ids import new_id, show_request_id
from apps.core.money import Credits
from apps.ledger import services
from apps.ledger.journal.file import JournalFile
from apps.ledger.models import Balance, BudgetWindow, Entry, Grant, ProcessLease
from apps.ledger.models import Hold as HoldRow
from apps.ledger.operations import Guard, Hold
from apps.ledger.rules import DAILY, LIFETIME
from apps.ledger.store import orm
from apps.ledger.sweeper import sweep_grants
from apps.ledger.verify import verify_ledger
from apps.usage.models import UsageRecord
from tests.ledger.contract import Payer, open_payer, unprotect_entries

GUARD = Guard("key:k", DAILY, 900, "key_budget_exhausted")


@pytest.fixture
def settled(alice: Payer) -> Hold:
    """A call that was charged 300 of alice's 1,000 microcredits."""
    asked = alice.hold(400, guards=(GUARD,))
    orm.commit([asked])
    orm.commit([alice.settle(asked, 300)])
    return asked


@pytest.fixture
def running(alice: Payer, settled: Hold) -> Hold:
    """A call that holds 200 more, of a process that is alive."""
    now = datetime.now(UTC)
    ProcessLease.objects.create(
        process_id=alice.process_id, name="web", started_at=now, expires_at=now + timedelta(seconds=30)
    )
    asked = alice.hold(200, guards=(GUARD,))
    orm.commit([asked])
    return asked


def damage(**columns: Any) -> None:
    """Change the newest entry of the books behind the database's back."""
    unprotect_entries()
    Entry.objects.filter(id=Entry.objects.order_by("-seq")[0].id).update(**columns)


def problems() -> list[str]:
    return verify_ledger().problems


def test_sound_books_prove_sound(alice: Payer, charlie: Payer, running: Hold) -> None:
    report = verify_ledger()
    assert (report.is_ok, report.accounts, report.entries, report.problems) == (True, 2, 3, [])


def test_an_empty_ledger_is_sound(ledger_db: None) -> None:
    report = verify_ledger()
    assert (report.is_ok, report.accounts, report.entries) == (True, 0, 0)


def test_absorbed_cost_and_corrections_are_sound(alice: Payer) -> None:
    asked = alice.hold(400)
    orm.commit([asked])
    orm.commit([alice.settle(asked, 1_300)])
    services.correct(account_id=alice.account_id, amount=Credits(70), reason="goodwill", reference="1", actor="tests")
    services.correct(account_id=alice.account_id, amount=Credits(-20), reason="too much", reference="2", actor="tests")
    assert problems() == []


def test_a_changed_amount_is_found(alice: Payer, settled: Hold) -> None:
    damage(amount_micro=299)
    assert problems() == [
        f"account {alice.account_id}: entry 2 does not add up",
        "what customers have and what the house has differ by -0.000001: debits are not credits",
        f"{show_request_id(settled.request_id)}: its charge and its usage record differ",
    ]


def test_a_changed_balance_on_an_entry_is_found(alice: Payer, settled: Hold) -> None:
    damage(balance_before_micro=999, balance_after_micro=699)
    assert problems() == [
        f"account {alice.account_id}: entry 2 begins at another balance than the one before it ended with",
        f"account {alice.account_id}: balance 0.0007 at entry 2, its entries end with 0.000699 at entry 2",
    ]


def test_a_changed_side_is_found(alice: Payer, settled: Hold) -> None:
    damage(debit="somebody else")
    assert problems() == [f"account {alice.account_id}: entry 2 does not add up"]


def test_a_movement_between_nobody_and_the_customer_is_found(alice: Payer, settled: Hold) -> None:
    damage(credit="somebody else")
    assert problems() == [
        "what customers have and what the house has differ by -0.0003: debits are not credits",
    ]


def test_a_missing_entry_is_found(alice: Payer, settled: Hold) -> None:
    services.top_up(account_id=alice.account_id, amount=Credits(5), reference="later", actor="tests")
    unprotect_entries()
    Entry.objects.filter(seq=2).delete()
    assert problems() == [
        f"account {alice.account_id}: entry 3 follows entry 1",
        f"account {alice.account_id}: entry 3 begins at another balance than the one before it ended with",
        "what customers have and what the house has differ by -0.0003: debits are not credits",
        f"{show_request_id(settled.request_id)}: its usage record tells of a charge that was never made",
    ]


def test_a_second_entry_with_the_same_number_is_found(alice: Payer, settled: Hold) -> None:
    unprotect_entries()
    first = Entry.objects.get(seq=1)
    first.id, first.operation_id = new_id(), new_id()
    first.save(force_insert=True)
    assert f"account {alice.account_id}: entry 1 follows entry 1" in problems()


def test_a_balance_that_its_entries_do_not_explain_is_found(alice: Payer, settled: Hold) -> None:
    Balance.objects.update(balance_micro=701)
    assert problems() == [
        f"account {alice.account_id}: balance 0.000701 at entry 2, its entries end with 0.0007 at entry 2",
        "what customers have and what the house has differ by 0.000001: debits are not credits",
    ]


@pytest.fixture
def granted(alice: Payer) -> Grant:
    """A grant of 200 of which a call used 50."""
    services.grant(account_id=alice.account_id, amount=Credits(200), reference="hello", actor="tests")
    asked = alice.hold(50)
    orm.commit([asked])
    orm.commit([alice.settle(asked, 50)])
    assert problems() == []
    return Grant.objects.get()


def test_a_grant_that_its_entries_do_not_explain_is_found(alice: Payer, granted: Grant) -> None:
    Grant.objects.update(remaining_micro=151)
    assert problems() == [f"account {alice.account_id}: 0.000151 of its grants remain, its entries leave 0.00015"]
    Grant.objects.all().delete()
    assert problems() == [f"account {alice.account_id}: 0 of its grants remain, its entries leave 0.00015"]


def test_a_grant_that_no_entry_gave_is_found(alice: Payer, granted: Grant) -> None:
    Grant.objects.update(amount_micro=201)
    assert problems() == [f"account {alice.account_id}: no entry gave the grant {granted.id}"]


def test_more_grants_than_balance_and_grants_without_entries_are_found(alice: Payer, charlie: Payer) -> None:
    bob = open_payer("bob")
    now = datetime.now(UTC)
    for payer in (alice, bob):
        Grant.objects.create(
            id=new_id(), account_id=payer.account_id, amount_micro=1_001, remaining_micro=1_001, created_at=now
        )
    assert sorted(problems()) == sorted(
        [
            *(f"account {grant.account_id}: no entry gave the grant {grant.id}" for grant in Grant.objects.all()),
            f"account {alice.account_id}: 0.001001 of its grants remain, its entries leave 0",
            f"account {alice.account_id}: more remains of its grants than it has",
            f"account {bob.account_id}: grants without entries",
        ]
    )


def test_more_expired_of_a_grant_than_is_gone_is_found(alice: Payer, granted: Grant) -> None:
    Grant.objects.update(expires_at=datetime.now(UTC) - timedelta(days=400))
    sweep_grants()
    assert problems() == []
    Grant.objects.update(remaining_micro=60)
    assert problems() == [
        f"account {alice.account_id}: more of the grant {granted.id} expired than is gone",
        f"account {alice.account_id}: 0.00006 of its grants remain, its entries leave 0",
    ]


def test_a_debt_that_its_entries_do_not_explain_is_found(alice: Payer, charlie: Payer) -> None:
    services.claw_back(account_id=alice.account_id, amount=Credits(1_300), reference="dispute", actor="tests")
    assert problems() == []
    Balance.objects.update(owed_micro=299)
    assert sorted(problems()) == sorted(
        [
            f"account {alice.account_id}: owes 0.000299, its entries say 0.0003",
            f"account {charlie.account_id}: owes 0.000299, its entries say 0",
        ]
    )


def test_an_entry_dated_before_the_one_it_follows_is_found(alice: Payer, settled: Hold) -> None:
    damage(created_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert problems() == [f"account {alice.account_id}: entry 2 is dated before the one that it follows"]


def test_a_lifetime_that_says_less_was_spent_than_the_records_do_is_found(alice: Payer, settled: Hold) -> None:
    scopes = [f"key:{alice.key_id}", f"key:{alice.key_id}:{settled.model_id}"]
    guards = tuple(Guard(scope, LIFETIME, 900, "key_limit_exhausted") for scope in scopes)
    asked = alice.hold(10, guards=guards)
    orm.commit([asked])
    orm.commit([alice.settle(asked, 10)])
    assert problems() == []
    BudgetWindow.objects.filter(scope__in=scopes).update(spent_micro=309)
    assert sorted(problems()) == [
        f"account {alice.account_id}: window {scope} lifetime has spent 0.000309, its usage records sum to 0.00031"
        for scope in scopes
    ]
    BudgetWindow.objects.filter(scope__in=scopes).update(spent_micro=311)
    assert problems() == []


def test_a_balance_without_entries_is_found(ledger_db: None) -> None:
    payer = open_payer("dora")
    Balance.objects.update(balance_micro=5)
    assert f"account {payer.account_id}: a balance of 0.000005 without entries" in problems()


def test_entries_without_a_balance_are_found(alice: Payer, settled: Hold) -> None:
    Balance.objects.all().delete()
    found = problems()
    assert f"account {alice.account_id}: no balance" in found
    assert f"account {alice.account_id}: entries without a balance" in found


def test_an_account_without_a_balance_is_found(ledger_db: None) -> None:
    (account,) = Account.objects.bulk_create([Account(name="eve")])
    assert problems() == [f"account {account.id}: no balance"]


def test_held_credits_without_a_hold_are_found(alice: Payer, running: Hold) -> None:
    Balance.objects.update(held_micro=201)
    assert problems() == [f"account {alice.account_id}: held is 0.000201, its open holds sum to 0.0002"]


def test_a_hold_that_the_balance_does_not_know_is_found(alice: Payer, running: Hold) -> None:
    HoldRow.objects.update(amount_micro=150)
    assert problems() == [
        f"account {alice.account_id}: held is 0.0002, its open holds sum to 0.00015",
        f"account {alice.account_id}: window key:k daily holds 0.0002, its open holds sum to 0.00015",
    ]


def test_a_hold_of_an_unknown_account_is_found(alice: Payer, running: Hold) -> None:
    stranger = uuid.UUID(int=7)
    HoldRow.objects.update(account_id=stranger)
    found = problems()
    assert f"account {stranger}: open holds without a balance" in found
    assert f"account {stranger}: open holds in a window that is not on file: key:k daily" in found


def test_a_window_that_holds_what_no_call_holds_is_found(alice: Payer, running: Hold) -> None:
    BudgetWindow.objects.update(held_micro=0)
    assert problems() == [f"account {alice.account_id}: window key:k daily holds 0, its open holds sum to 0.0002"]


def test_a_window_that_is_gone_is_found(alice: Payer, running: Hold) -> None:
    BudgetWindow.objects.all().delete()
    assert problems() == [f"account {alice.account_id}: open holds in a window that is not on file: key:k daily"]


def test_a_usage_record_with_another_charge_is_found(settled: Hold) -> None:
    UsageRecord.objects.update(charge_micro=299)
    assert problems() == [f"{show_request_id(settled.request_id)}: its charge and its usage record differ"]


def test_a_charge_may_outlive_its_usage_record(settled: Hold) -> None:
    UsageRecord.objects.all().delete()
    assert problems() == []


@pytest.mark.parametrize(
    ("lease_ended_s_ago", "held_for_s", "is_found"),
    [
        (61, 120, True),  # the sweeper had its time
        (59, 120, False),  # it has still
        (None, 120, True),  # the process stopped in order, and left a hold behind
        (None, 60, False),
        (61, 60, False),
    ],
)
def test_a_hold_past_its_expiry_is_found(
    alice: Payer, running: Hold, lease_ended_s_ago: int | None, held_for_s: int, is_found: bool
) -> None:
    now = datetime.now(UTC)
    if lease_ended_s_ago is None:
        ProcessLease.objects.all().delete()
    else:
        ProcessLease.objects.update(expires_at=now - timedelta(seconds=lease_ended_s_ago))
    HoldRow.objects.update(created_at=now - timedelta(seconds=held_for_s))
    expected = [f"{show_request_id(running.request_id)}: open hold of a process that is gone"] if is_found else []
    assert problems() == expected


def test_a_report_names_the_first_offenders_and_ends(alice: Payer, settled: Hold) -> None:
    services.top_up(account_id=alice.account_id, amount=Credits(5), reference="later", actor="tests")
    Account.objects.bulk_create([Account(name=f"account {place}") for place in range(150)])
    assert len(problems()) == 100


def test_a_proof_keeps_no_call_waiting(alice: Payer, settled: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is held while the proof runs is held at once, and not part of what the proof sees."""
    from apps.ledger import verify

    check_chains = verify._check_chains
    failures: list[BaseException] = []

    def commit_beside() -> None:
        try:
            with connection.cursor() as cursor:
                if connection.vendor == "postgresql":
                    cursor.execute("SET lock_timeout = '500ms'")
                else:
                    cursor.execute("PRAGMA busy_timeout = 500")
            orm.commit([alice.hold(10)])
        except BaseException as failure:
            failures.append(failure)
        finally:
            connections.close_all()

    def check_beside(report: verify.Report) -> None:
        writer = threading.Thread(target=commit_beside)
        writer.start()
        writer.join(10)
        check_chains(report)

    monkeypatch.setattr(verify, "_check_chains", check_beside)
    assert verify_ledger().problems == []
    assert failures == []
    assert Balance.objects.get().held_micro == 10
    monkeypatch.undo()
    with transaction.atomic():
        Balance.objects.select_for_update().get()
        assert verify_ledger().problems == []


def test_settlements_that_nobody_will_make_are_a_problem(
    running: Hold, alice: Payer, tmp_path: Path, settings: Settings
) -> None:
    settings.LEDGER_JOURNAL_DIR = tmp_path
    with closing(JournalFile.create(tmp_path, new_id())) as alive:
        alive.append([alice.settle(running, 100)])
        dead = tmp_path / f"{new_id()}.journal"
        dead.write_bytes(alive.path.read_bytes())
        report = verify_ledger()
        assert (report.journalled, report.problems) == (2, [])
        for path in (dead, alive.path):
            os.utime(path, (0, 0))
        assert problems() == [f"{dead}: settlements of a process that is gone wait to be replayed"]
        dead.rename(f"{dead}.aside")
        assert problems() == [f"{dead}.aside: settlements that could not be replayed"]
        settings.LEDGER_JOURNAL_DIR = None
        assert problems() == []
