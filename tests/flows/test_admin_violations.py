"""What operators see of calls to CLI-only models that were not the CLI's, and how they undo what followed."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from apps.accounts.models import Account, AuditEvent, User
from apps.keys.models import ApiKey, CliViolation
from apps.keys.services import issue_key
from tests.flows.admin_pages import change, funded_account, listing, operators_browser, text_of
from tests.keys.cli.test_violations import EVIDENCE, MISSING, happen

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser() -> Client:
    return operators_browser()


@pytest.fixture
def alice() -> Account:
    return funded_account("alice")


@pytest.fixture
def key(alice: Account) -> ApiKey:
    return issue_key(account_id=alice.id, actor="root", name="laptop").row


def test_violations_are_listed_with_what_failed_and_what_followed(browser: Client, key: ApiKey) -> None:
    happen(key, MISSING)
    happen(key, EVIDENCE)
    shown = text_of(browser.get(listing("keys_cliviolation") + "?period=any"))
    assert "the header X-App is missing" in shown
    assert "its User-Agent is that of curl" in shown
    assert "blocked, the key suspended" in shown
    only = text_of(browser.get(listing("keys_cliviolation") + "?period=any&verdict__exact=foreign"))
    assert "X-App" not in only
    page = text_of(browser.get(change(CliViolation.objects.earliest("id"))))
    assert "curl/8" in page
    assert "standing" in page


def test_a_violation_is_lifted_with_a_reason(browser: Client, key: ApiKey) -> None:
    happen(key, EVIDENCE)
    violation = CliViolation.objects.get()
    assert "This field is required" in text_of(browser.post(change(violation, "lift"), {"why": ""}))
    reply = browser.post(change(violation, "lift"), {"why": "a test of ours"}, follow=True)
    assert "The violation is lifted. laptop" in text_of(reply)
    key.refresh_from_db()
    assert key.status == "active"
    assert AuditEvent.objects.filter(actor="olga", action="cli_violation.lifted").count() == 1
    shown = text_of(browser.get(change(violation)))
    assert "lifted by olga" in shown
    assert (
        reverse("admin:keys_cliviolation_lift", args=[violation.pk])
        not in browser.get(change(violation)).content.decode()
    )


def test_who_may_only_look_lifts_nothing(key: ApiKey) -> None:
    happen(key, EVIDENCE)
    violation = CliViolation.objects.get()
    viewer = User.objects.create_user("vera", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_cliviolation"))
    browser = Client()
    browser.force_login(viewer)
    assert browser.get(change(violation)).status_code == 200
    assert browser.post(change(violation, "lift"), {"why": "me too"}).status_code == 403
    violation.refresh_from_db()
    assert violation.lifted_at is None


def test_nobody_adds_or_edits_a_violation(browser: Client, key: ApiKey) -> None:
    happen(key, MISSING)
    violation = CliViolation.objects.get()
    assert browser.get(reverse("admin:keys_cliviolation_add")).status_code == 403
    assert browser.post(change(violation), {"strike": "0"}).status_code == 403
