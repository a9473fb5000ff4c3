"""Streams that insurance owes for are found by their records and paid once, however often anybody is told of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import connection, connections, transaction

from apps.accounts.services import set_account
from apps.core.money import Credits
from apps.insurance import services
from apps.insurance.services import pay_due
from apps.insurance.tasks import pay_due as task
from apps.ledger.models import Balance
from apps.ledger.operations import Release
from apps.ledger.store import orm
from apps.usage.models import UsageRecord
from tests.insurance.paying import CREDIT, afford, claim, insured_model, payouts, settled
from tests.ledger.contract import Payer, problems, purse


def test_what_is_due_is_paid_and_the_record_says_so(ledger_db: None, alice: Payer) -> None:
    version = insured_model()
    afford(alice)
    held = settled(alice, version)
    assert claim(held) == ("due", 0)
    assert pay_due() == 0
    assert (claim(held), payouts(alice)) == (("paid", 3 * CREDIT), [3 * CREDIT])
    assert purse(alice) == (1_000 + (1_000 - 12 + 3) * CREDIT, 0)
    assert problems() == []


def test_a_task_delivered_ten_times_pays_once(ledger_db: None, alice: Payer) -> None:
    version = insured_model()
    afford(alice)
    held = settled(alice, version)
    for _ in range(10):
        task()
    assert (claim(held), payouts(alice)) == (("paid", 3 * CREDIT), [3 * CREDIT])


def test_a_payout_whose_record_was_not_told_is_not_made_again(ledger_db: None, alice: Payer) -> None:
    version = insured_model()
    afford(alice)
    held = settled(alice, version)
    pay_due()
    UsageRecord.objects.update(claim="due", compensated_micro=0)
    pay_due()
    assert (claim(held), payouts(alice)) == (("paid", 3 * CREDIT), [3 * CREDIT])


def test_more_than_a_batch_and_more_than_an_account(
    ledger_db: None, alice: Payer, charlie: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "BATCH", 2)
    monkeypatch.setattr(services, "ACCOUNTS", 1)
    version = insured_model()
    for payer in (alice, charlie):
        afford(payer)
        for _ in range(5):
            settled(payer, version, charge=4 * CREDIT)
    assert pay_due() == 0
    assert payouts(alice) == payouts(charlie) == [CREDIT] * 5


def test_the_cap_is_that_of_the_day_of_the_payout(ledger_db: None, alice: Payer) -> None:
    set_account(account_id=alice.account_id, actor="tests", insurance_cap=Credits.whole(4))
    version = insured_model()
    afford(alice)
    held = [settled(alice, version) for _ in range(3)]
    pay_due()
    assert [claim(each) for each in held] == [("paid", 3 * CREDIT), ("capped", CREDIT), ("capped", 0)]
    assert problems() == []


def test_a_call_that_was_told_that_it_failed_is_owed_nothing(ledger_db: None, alice: Payer) -> None:
    version = insured_model()
    afford(alice)
    held = settled(alice, version)
    orm.commit([Release(held.request_id, alice.account_id, None, annuls=True)])
    pay_due()
    assert (claim(held), payouts(alice)) == (("void", 0), [])
    assert problems() == []


def test_two_workers_at_once_pay_once(ledger_db: None, alice: Payer) -> None:
    version = insured_model()
    afford(alice)
    held = [settled(alice, version) for _ in range(8)]

    def work() -> None:
        try:
            pay_due()
        finally:
            connections.close_all()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=30)
    pay_due()
    assert [claim(each) for each in held] == [("paid", 3 * CREDIT)] * 8
    assert payouts(alice) == [3 * CREDIT] * 8
    assert problems() == []


def in_another_connection(work: Callable[[], None]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_an_account_that_is_locked_keeps_no_other_waiting(
    ledger_db: None, alice: Payer, charlie: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("one lock for all")
    monkeypatch.setattr(services, "LOCK_PATIENCE", "50ms")
    version = insured_model()
    for payer in (alice, charlie):
        afford(payer)
        settled(payer, version)
    is_locked, is_over = threading.Event(), threading.Event()

    @transaction.atomic
    def lock() -> None:
        Balance.objects.select_for_update().get(account_id=alice.account_id)
        is_locked.set()
        is_over.wait(20)

    other = in_another_connection(lock)
    assert is_locked.wait(10)
    try:
        assert pay_due() == 1
        assert (payouts(alice), payouts(charlie)) == ([], [3 * CREDIT])
    finally:
        is_over.set()
        other.join(timeout=20)
    assert pay_due() == 0
    assert payouts(alice) == [3 * CREDIT]


def test_what_is_due_is_found_by_an_index(ledger_db: None, alice: Payer) -> None:
    """Of ten thousand records none but those that are due are looked at."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET enable_seqscan = off")
            cursor.execute("EXPLAIN SELECT DISTINCT account_id FROM usage_usagerecord WHERE claim = 'due'")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            cursor.execute("RESET enable_seqscan")
        assert "account_id_request_id_idx" in plan or "usage_due" in plan
        assert "Seq Scan" not in plan
        return
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN QUERY PLAN SELECT DISTINCT account_id FROM usage_usagerecord WHERE claim = 'due'")
        assert "usage_due" in str(cursor.fetchall())
