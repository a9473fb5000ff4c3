"""The logs as operators read them: filtered, turned over, never counted, never changed."""

from __future__ import annotations

import uuid

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.accounts.models import Account, AuditEvent
from apps.accounts.services import create_account
from apps.core.ids import show_request_id, time_bound
from apps.ledger.models import Entry
from apps.usage.models import UsageRecord
from tests.flows.admin_pages import change, funded_account, listing, operators_browser, text_of, usage_record

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser() -> Client:
    return operators_browser()


@pytest.fixture
def alice() -> Account:
    return funded_account("alice")


@pytest.mark.parametrize("model", ["usage_usagerecord", "ledger_entry", "ledger_hold", "accounts_auditevent"])
def test_a_log_is_read_and_nothing_else(browser: Client, alice: Account, model: str) -> None:
    record = usage_record(alice)
    row = {
        "usage_usagerecord": record.pk,
        "ledger_entry": Entry.objects.get().pk,
        "accounts_auditevent": AuditEvent.objects.filter(account=alice)[0].pk,
    }.get(model, uuid.uuid4())
    assert browser.get(listing(model)).status_code == 200
    assert browser.get(reverse(f"admin:{model}_add")).status_code == 403
    for page in ("change", "delete"):
        assert browser.post(reverse(f"admin:{model}_{page}", args=[row]), {"post": "yes"}).status_code in (302, 403)
    assert UsageRecord.objects.count() == Entry.objects.count() == 1


@pytest.mark.parametrize("model", ["usage_usagerecord", "ledger_entry", "ledger_hold", "accounts_auditevent"])
def test_a_log_is_never_counted(browser: Client, alice: Account, model: str) -> None:
    usage_record(alice)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        browser.get(listing(model), {"account": "alice"})
    table = model
    asked = [query["sql"] for query in queries if f'FROM "{table}"' in query["sql"]]
    assert len(asked) == 1
    assert "COUNT(" not in asked[0].upper()
    assert "LIMIT 50" in asked[0]


def test_usage_is_found_by_account_model_status_key_and_request(browser: Client, alice: Account) -> None:
    charlie = create_account(name="charlie", actor="root")
    wanted = usage_record(alice, status="failed", model_id="kimi-latest")
    for account in (alice, charlie):
        usage_record(account)
    pages = (
        {"account": "alice", "status": "failed"},
        {"account": str(alice.id), "model": "kimi-latest"},
        {"key": str(wanted.key_id)},
        {"q": show_request_id(wanted.request_id)},
    )
    for page in pages:
        shown = browser.get(listing("usage_usagerecord"), page).context["cl"]
        assert [record.pk for record in shown.result_list] == [wanted.pk]
    for page in ({"account": "nobody"}, {"key": "nonsense"}, {"q": "nonsense"}):
        reply = browser.get(listing("usage_usagerecord"), page)
        assert list(reply.context["cl"].result_list) == []
        assert "No results found" in text_of(reply)


def test_an_old_record_is_found_by_asking_for_its_period(browser: Client, alice: Account) -> None:
    old = usage_record(alice, request_id=time_bound(1_700_000_000_000))
    page = {"account": "alice"}
    assert list(browser.get(listing("usage_usagerecord"), page).context["cl"].result_list) == []
    found = browser.get(listing("usage_usagerecord"), {**page, "period": "any"}).context["cl"].result_list
    assert [record.pk for record in found] == [old.pk]


def test_pages_turn_without_a_total(browser: Client, alice: Account) -> None:
    for _ in range(51):
        usage_record(alice)
    first = text_of(browser.get(listing("usage_usagerecord")))
    assert "results" not in first
    assert "Page 1" in first
    second = browser.get(listing("usage_usagerecord"), {"p": "2"}).context["cl"].result_list
    assert len(second) == 1


def test_amounts_are_readable(browser: Client, alice: Account) -> None:
    record = usage_record(alice, input_tokens=12_345, cache_read_tokens=5, output_tokens=1_000)
    assert "12,350 / 1,000 12.5 credits 1,500 ms" in text_of(browser.get(listing("usage_usagerecord")))
    shown = text_of(browser.get(change(record)))
    assert show_request_id(record.request_id) in shown
    entry = text_of(browser.get(change(Entry.objects.get())))
    assert "1,000 credits" in entry
