"""verify_ledger finds every payout that should not be, or should be another."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.catalog.models import InsuranceVersion
from apps.core.ids import new_id, show_request_id
from apps.insurance.services import pay_due
from apps.ledger.models import BudgetWindow, Entry
from apps.ledger.operations import Hold
from apps.usage.models import UsageRecord
from tests.insurance.paying import CREDIT, afford, insured_model, settled
from tests.ledger.contract import Payer, problems, unprotect_entries


@pytest.fixture
def version(ledger_db: None) -> InsuranceVersion:
    return insured_model()


@pytest.fixture
def paid(version: InsuranceVersion, alice: Payer) -> Hold:
    """A stream that was slow and is paid for."""
    afford(alice)
    held = settled(alice, version)
    pay_due()
    assert problems() == []
    return held


def test_plain_calls_and_streams_capped_or_not_are_as_they_should_be(version: InsuranceVersion, alice: Payer) -> None:
    afford(alice)
    for is_stream in (False, True):
        settled(alice, version, is_stream=is_stream)
    pay_due()
    assert Entry.objects.filter(kind="compensation").count() == 2
    assert problems() == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"status": "abandoned"}, "insurance paid for a call that it does not insure"),
        ({"is_estimated": True}, "insurance paid for a call that it does not insure"),
        ({"compensated_micro": CREDIT}, "its payout and its usage record differ"),
        ({"compensated_micro": 0, "claim": "due"}, "its payout and its usage record differ"),
        ({"insurance_version_id": None}, "insurance paid for it by a policy that is not on file"),
        ({"threshold_ms": 90_000}, "its threshold was 90000 ms, its policy says 97500 ms"),
        ({"latency_ms": 97_500}, "insurance paid for 97500 ms, which is within its threshold"),
        ({"due_micro": 4 * CREDIT}, "insurance paid 3 of 4 due, its policy says 3"),
    ],
)
def test_a_payout_that_its_record_does_not_bear_out(paid: Hold, change: dict[str, Any], line: str) -> None:
    UsageRecord.objects.filter(request_id=paid.request_id).update(**change)
    assert problems() == [f"{show_request_id(paid.request_id)}: {line}"]


def test_a_payout_by_other_figures_than_those_of_its_version(paid: Hold, version: InsuranceVersion) -> None:
    InsuranceVersion.objects.filter(id=version.id).update(percent=50)
    assert problems() == [
        f"{show_request_id(paid.request_id)}: insurance paid 3 of 3 due, its policy says 6",
    ]


def test_a_payout_that_was_never_made(paid: Hold) -> None:
    unprotect_entries()
    Entry.objects.filter(kind="compensation").delete()
    assert f"{show_request_id(paid.request_id)}: its usage record tells of a payout that was never made" in problems()


def test_a_second_payout_is_refused_by_the_database(paid: Hold) -> None:
    entry = Entry.objects.get(kind="compensation")
    entry.id, entry.seq = new_id(), entry.seq + 1
    with pytest.raises(IntegrityError), transaction.atomic():
        entry.save(force_insert=True)


def test_a_day_that_counts_less_than_was_paid(paid: Hold, alice: Payer) -> None:
    BudgetWindow.objects.filter(scope="compensation").update(spent_micro=CREDIT)
    assert problems() == [f"account {alice.account_id}: insurance paid 3, its days count 1"]


def test_a_record_that_is_gone_proves_nothing(paid: Hold) -> None:
    UsageRecord.objects.all().delete()
    assert problems() == []
