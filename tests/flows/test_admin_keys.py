"""What operators do to keys in the browser: issued once, limited in credits, stopped with a reason."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts import revisions
from apps.accounts.models import Account, AuditEvent
from apps.core.money import Credits
from apps.keys import rules
from apps.keys.models import ApiKey, ModelLimit
from apps.keys.services import ModelCap, issue_key
from tests.flows.admin_pages import change, funded_account, operators_browser, text_of

pytestmark = pytest.mark.django_db

NO_CAPS = {"model_limits-TOTAL_FORMS": "0", "model_limits-INITIAL_FORMS": "0"}


@pytest.fixture
def browser() -> Client:
    return operators_browser()


@pytest.fixture
def alice() -> Account:
    return funded_account("alice")


@pytest.fixture
def key(alice: Account) -> ApiKey:
    return issue_key(account_id=alice.id, actor="root", name="laptop").row


def test_a_key_is_shown_once(browser: Client, alice: Account) -> None:
    page = {
        "account": str(alice.pk),
        "name": "ci",
        "allowed_models": ["gpt-5-5", "kimi-latest"],
        "allowed_networks": "10.0.0.0/8\n192.0.2.7",
        "daily_budget": "2.5",
        "expires_at_0": "2100-01-01",
        "expires_at_1": "00:00",
        "model_limits-TOTAL_FORMS": "1",
        "model_limits-INITIAL_FORMS": "0",
        "model_limits-0-model_id": "gpt-5-5",
        "model_limits-0-limit": "1.25",
    }
    reply = browser.post(reverse("admin:keys_apikey_add"), page)
    key = ApiKey.objects.get()
    found = re.search(r"ck_[0-9A-Za-z]{42}", reply.content.decode())
    assert reply.status_code == 200
    assert found is not None
    assert rules.is_well_formed(found[0])
    assert key.last4 == found[0][-4:]
    assert "no-store" in reply.headers["Cache-Control"]
    assert (key.allowed_models, key.allowed_networks) == (
        ["gpt-5-5", "kimi-latest"],
        ["10.0.0.0/8", "192.0.2.7/32"],
    )
    assert (key.daily_budget_micro, key.limit_micro) == (2_500_000, None)
    assert list(key.model_limits.values_list("model_id", "limit_micro")) == [("gpt-5-5", 1_250_000)]
    assert key.revision == revisions.current()[revisions.KEYS]
    assert found[0] not in browser.get(change(key)).content.decode()
    assert AuditEvent.objects.filter(action="key.issued", actor="olga").count() == 1


def test_a_saved_key_changes_only_what_was_edited(browser: Client, alice: Account) -> None:
    key = issue_key(
        account_id=alice.id,
        actor="root",
        name="ci",
        allowed_models=["gpt-5-5"],
        allowed_networks=["10.0.0.0/8"],
        limit=Credits.parse("7.000001"),
        model_caps={"gpt-5-5": ModelCap(rpm=3), "kimi-latest": ModelCap(rpm=4)},
    ).row
    caps = {cap.model_id: cap for cap in ModelLimit.objects.all()}
    page = {
        "name": "ci server",
        "allowed_models": ["gpt-5-5"],
        "allowed_networks": "10.0.0.0/8",
        "limit": "7.000001",
        "model_limits-TOTAL_FORMS": "2",
        "model_limits-INITIAL_FORMS": "2",
        "model_limits-0-id": str(caps["gpt-5-5"].pk),
        "model_limits-0-model_id": "gpt-5-5",
        "model_limits-0-rpm_limit": "30",
        "model_limits-1-id": str(caps["kimi-latest"].pk),
        "model_limits-1-model_id": "kimi-latest",
        "model_limits-1-rpm_limit": "4",
        "model_limits-1-DELETE": "on",
    }
    shown = browser.get(change(key)).content.decode()
    assert 'value="7.000001"' in shown
    assert browser.post(change(key), page).status_code == 302
    details = AuditEvent.objects.filter(action="key.changed").order_by("id").values_list("detail", flat=True)
    assert list(details) == [
        {"name": ["ci", "ci server"]},
        {
            "cap gpt-5-5": ["no limit, 3 per minute", "no limit, 30 per minute"],
            "cap kimi-latest": ["no limit, 4 per minute", None],
        },
    ]


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("allowed_networks", "10.0.0.1/8", "did you mean 10.0.0.0/8?"),
        ("allowed_models", ["gpt-9"], "Select a valid choice"),
        ("limit", "-5", "an amount must not be negative"),
        ("expires_at_0", "2020-01-01", "the key&#x27;s expiry must be in the future"),
        ("name", "", "This field is required"),
    ],
)
def test_a_key_that_does_not_add_up_is_not_issued(
    browser: Client, alice: Account, field: str, value: Any, line: str
) -> None:
    page = {"account": str(alice.pk), "name": "ci", "expires_at_1": "00:00", "expires_at_0": "2100-01-01"}
    reply = browser.post(reverse("admin:keys_apikey_add"), {**page, **NO_CAPS, field: value})
    assert reply.status_code == 200
    assert line in reply.content.decode()
    assert not ApiKey.objects.exists()


def test_a_key_is_stopped_and_let_go_with_a_reason(browser: Client, key: ApiKey) -> None:
    assert "This field is required" in text_of(browser.post(change(key, "suspend"), {"why": ""}))
    browser.post(change(key, "suspend"), {"why": "leaked"})
    key.refresh_from_db()
    assert (key.status, key.suspended_reason) == ("suspended", "leaked")
    shown = text_of(browser.get(change(key)))
    assert "UTC: leaked" in shown
    assert ("Reinstate" in shown, "Suspend " in shown) == (True, False)
    browser.post(change(key, "reinstate"), {"why": "rotated"})
    key.refresh_from_db()
    assert key.status == "active"
    assert AuditEvent.objects.filter(actor="olga", action="key.reinstated", detail={"why": "rotated"}).exists()
