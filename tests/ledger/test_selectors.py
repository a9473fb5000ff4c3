"""What people are shown: a balance, and why a call was charged what it was."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from apps.catalog.models import Model, PriceVersion
from apps.core.ids import new_id, show_request_id
from apps.core.money import Credits
from apps.ledger.models import BudgetWindow
from apps.ledger.operations import Granted, Guard, Release
from apps.ledger.rules import DAILY, HOURLY, window_start
from apps.ledger.selectors import balance_of, explain
from apps.ledger.store import orm
from tests.ledger.contract import Payer, only

NOON = datetime(2025, 11, 22, 12, 30, 15, tzinfo=UTC)


def test_a_balance_is_what_there_is_less_what_is_held(alice: Payer) -> None:
    orm.commit([alice.hold(400)])
    facts = balance_of(alice.account_id)
    assert (facts.balance, facts.held, facts.available) == (Credits(1_000), Credits(400), Credits(600))
    nobody = balance_of(uuid.UUID(int=7))
    assert (nobody.balance, nobody.available) == (Credits(0), Credits(0))


def test_a_charged_call_is_explained_by_its_entries_its_limits_and_its_price(alice: Payer) -> None:
    hourly = Guard(f"key:{alice.key_id}", HOURLY, 900, "key_budget_exhausted")
    daily = Guard("account", DAILY, 320, "account_budget_exhausted")
    asked = alice.hold(200, guards=(hourly, daily))
    granted = only(Granted, orm.commit([asked]))
    assert granted.now is not None
    settlement = alice.settle(asked, 350)
    settlement.record.received_at = granted.now
    settlement.record.price_version_id = make_price().id
    settlement.record.held_micro = 200
    orm.commit([settlement])
    BudgetWindow.objects.create(
        account_id=alice.account_id, scope="account", period=DAILY, starts_at=window_start(DAILY, NOON), spent_micro=9
    )
    facts = explain(asked.request_id)
    assert facts["request_id"] == show_request_id(asked.request_id)
    assert (facts["status"], facts["credits_charged"], facts["absorbed"], facts["credits_held"]) == (
        "succeeded",
        Decimal("0.00032"),
        Decimal("0.00003"),
        Decimal("0.0002"),
    )
    assert facts["hold"] is None
    assert facts["price"] == {
        "version": 1,
        "effective_at": "2025-11-22T12:30:15Z",
        "input": 315_000_000,
        "cache_read": None,
        "cache_write_5m": None,
        "cache_write_1h": None,
        "output": 1_575_000_000,
        "server_tool_request": None,
    }
    assert [
        (entry["seq"], entry["kind"], entry["credits"], entry["balance_before"], entry["balance_after"])
        for entry in facts["entries"]
    ] == [
        (2, "charge", Decimal("0.00032"), Decimal("0.001"), Decimal("0.00068")),
        (3, "absorbed", Decimal("0.00003"), Decimal("0.00068"), Decimal("0.00068")),
    ]
    assert [(limit["scope"], limit["period"], limit["spent"], limit["held"]) for limit in facts["limits"]] == [
        ("account", DAILY, Decimal("0.00032"), 0),
        (f"key:{alice.key_id}", HOURLY, Decimal("0.00032"), 0),
    ]


def test_a_running_call_is_explained_by_its_hold(alice: Payer) -> None:
    asked = alice.hold(200)
    orm.commit([asked])
    facts = explain(asked.request_id)
    assert (facts["status"], facts["entries"], facts["limits"]) == ("running", [], [])
    assert (facts["hold"]["state"], facts["hold"]["credits"], facts["hold"]["windows"]) == (
        "open",
        Decimal("0.0002"),
        [],
    )


def test_a_refused_call_is_explained_by_the_limit_that_refused_it(alice: Payer) -> None:
    asked = alice.hold(2_000)
    record = alice.record(asked, status="refused", http_status=402)
    record.error_code, record.facts = "insufficient_credits", {"limit": "insufficient_credits", "value": 0.001}
    orm.commit([Release(asked.request_id, alice.account_id, record)])
    facts = explain(asked.request_id)
    assert (facts["status"], facts["http_status"], facts["error_code"]) == ("refused", 402, "insufficient_credits")
    assert facts["refused_by"] == {"limit": "insufficient_credits", "value": 0.001}
    assert (facts["hold"], facts["entries"], facts["price"]) == (None, [], None)


def test_a_call_that_was_never_made_is_not_explained(ledger_db: None) -> None:
    with pytest.raises(LookupError):
        explain(new_id())


def make_price() -> PriceVersion:
    model = Model.objects.create(
        id="claude-sonnet-4-7", name="Claude Sonnet 4.7", surface="text", context_tokens=1_000_000, dialects=[]
    )
    return PriceVersion.objects.create(
        model=model, version=1, effective_at=NOON, input=315_000_000, output=1_575_000_000
    )
