"""What operators read of insurance: claims, what they cost, and by which policy."""

from __future__ import annotations

import json
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.accounts.models import Account
from apps.catalog.models import InsuranceVersion
from apps.core import clock
from apps.core.ids import show_request_id, time_bound
from tests.flows.admin_pages import funded_account, listing, operators_browser, text_of, usage_record

pytestmark = pytest.mark.django_db
CREDIT = 1_000_000


@pytest.fixture
def alice() -> Account:
    return funded_account("alice")


@pytest.fixture
def browser() -> Client:
    return operators_browser()


def insured(account: Account, **fields: Any) -> Any:
    """A call of 12 credits that nothing triggered."""
    version = InsuranceVersion.objects.get(model_id=fields.get("model_id", "gpt-5-5"))
    facts = {
        "charge_micro": 12 * CREDIT,
        "claim": "not_triggered",
        "threshold_ms": 90_000,
        "insurance_version_id": version.id,
    }
    return usage_record(account, **{**facts, **fields})


def slow(account: Account, *, paid: int = 3 * CREDIT, claim: str = "paid", **fields: Any) -> Any:
    facts = {"latency_ms": 94_320, "claim_trigger": "latency", "due_micro": 3 * CREDIT, "compensated_micro": paid}
    return insured(account, **{**facts, "claim": claim, **fields})


def report(*arguments: str) -> Any:
    output = StringIO()
    call_command("insurance_report", *arguments, "--json", stdout=output)
    return json.loads(output.getvalue(), parse_float=Decimal)


def test_the_report_says_what_insurance_cost_by_model(alice: Account) -> None:
    insured(alice)
    slow(alice)
    slow(alice, claim="capped", paid=CREDIT)
    slow(alice, claim="due", paid=0, model_id="claude-sonnet-4-7", is_stream=True)
    usage_record(alice)  # not insured
    usage_record(alice, status="failed", charge_micro=0)
    insured(alice, is_estimated=True)
    insured(alice, charge_micro=0)
    month = f"{clock.now():%Y-%m}"
    told = report()
    assert told == report("--month", month)
    assert told == {
        "month": month,
        "models": [
            {
                "model": "claude-sonnet-4-7",
                "insured": 1,
                "triggered": 1,
                "credits_charged": 12,
                "credits_due": 3,
                "credits_paid": 0,
                "percent_of_charges": 0,
            },
            {
                "model": "gpt-5-5",
                "insured": 3,
                "triggered": 2,
                "credits_charged": 36,
                "credits_due": 6,
                "credits_paid": 4,
                "percent_of_charges": Decimal("11.11"),
            },
        ],
        "total": {
            "insured": 4,
            "triggered": 3,
            "credits_charged": 48,
            "credits_due": 9,
            "credits_paid": 4,
            "percent_of_charges": Decimal("8.33"),
        },
    }
    assert report("--month", "2020-01")["models"] == []


def test_a_call_belongs_to_the_month_that_it_came_in(alice: Account) -> None:
    slow(alice, request_id=time_bound(1_767_225_599_999))
    slow(alice, request_id=time_bound(1_767_225_600_000))
    assert report("--month", "2025-12")["total"]["triggered"] == 1
    assert report("--month", "2026-01")["total"]["triggered"] == 1


def test_the_report_reads_for_people_and_refuses_nonsense(alice: Account) -> None:
    slow(alice)
    output = StringIO()
    call_command("insurance_report", stdout=output)
    assert output.getvalue().splitlines()[1:] == [
        "  gpt-5-5: 1 of 1 calls triggered, 3 of 3 credits paid, 25.00 % of 12 charged",
        "  all models: 1 of 1 calls triggered, 3 of 3 credits paid, 25.00 % of 12 charged",
    ]
    with pytest.raises(CommandError, match="not a month, like 2026-11: 'May'"):
        call_command("insurance_report", "--month", "May")


def test_claims_are_listed_and_nothing_else(browser: Client, alice: Account) -> None:
    claim, other = slow(alice), insured(alice)
    page = browser.get(listing("insurance_claim"))
    text = text_of(page)
    assert "94,320 ms 90,000 ms 12 credits 3 credits" in text
    assert text.count("alice") == 1
    detail = text_of(browser.get(reverse("admin:insurance_claim_change", args=[claim.pk])))
    assert show_request_id(claim.request_id) in detail
    assert "version 1: 25 % beyond 90,000 ms" in detail
    assert browser.get(reverse("admin:insurance_claim_change", args=[other.pk])).status_code == 302
    found = browser.get(listing("insurance_claim"), {"q": show_request_id(claim.request_id)})
    assert "94,320 ms" in text_of(found)
    assert "94,320 ms" not in text_of(browser.get(listing("insurance_claim"), {"claim__exact": "capped"}))


def test_claims_are_never_changed_nor_counted(browser: Client, alice: Account) -> None:
    claim = slow(alice)
    assert browser.get(reverse("admin:insurance_claim_add")).status_code == 403
    for page in ("change", "delete"):
        answer = browser.post(reverse(f"admin:insurance_claim_{page}", args=[claim.pk]), {"post": "yes"})
        assert answer.status_code in (302, 403)
    claim.refresh_from_db()
    with CaptureQueriesContext(connection) as queries:
        browser.get(listing("insurance_claim"), {"account": "alice"})
    asked = [query["sql"] for query in queries if 'FROM "usage_usagerecord"' in query["sql"]]
    assert len(asked) == 1
    assert "COUNT(" not in asked[0].upper()


def test_what_insurance_costs_is_a_page(browser: Client, alice: Account) -> None:
    slow(alice)
    page = browser.get(listing("insurance_claim"))
    assert b"Cost per model" in page.content
    url = reverse("admin:insurance_claim_cost_report")
    assert "gpt-5-5 1 1 12 3 3 25.00" in text_of(browser.get(url))
    assert "No call was insured in this month." in text_of(browser.get(url, {"month": "2020-01"}))
    assert "not a month, like 2026-11" in text_of(browser.get(url, {"month": "May"}))


def test_policies_are_shown_with_their_versions(browser: Client, alice: Account) -> None:
    call_command("set_policy", "gpt-5-5", "--insurance-percent", "50", stdout=StringIO())
    assert "gpt-5-5" in text_of(browser.get(listing("catalog_insuranceversion")))
    page = text_of(browser.get(reverse("admin:catalog_model_change", args=["gpt-5-5"])))
    assert "what insurance promises" in page.lower()


def test_what_a_call_was_insured_by_is_explained(alice: Account) -> None:
    record = slow(alice)
    output = StringIO()
    call_command("explain", show_request_id(record.request_id), "--json", stdout=output)
    facts = json.loads(output.getvalue())
    assert (facts["insurance"]["status"], facts["insurance"]["credits_due"], facts["credits_compensated"]) == (
        "paid", 3, 3,
    )  # fmt: skip
    policy = facts["insurance_policy"]
    del policy["effective_at"]
    assert policy == {"version": 1, "threshold_ms": 90_000, "percent": 25, "ms_per_output_token": 25}
