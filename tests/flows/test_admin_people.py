"""Who may do what on the operator's pages."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from apps.accounts.models import Account, AuditEvent, User
from apps.accounts.services import set_account
from apps.catalog.models import Model
from apps.core.money import Credits
from apps.keys.models import ApiKey
from apps.keys.services import issue_key
from apps.ledger.models import Entry
from tests.flows.admin_pages import change, funded_account, listing, operators_browser, text_of

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


def test_a_stranger_sees_the_login_page_only(alice: Account) -> None:
    for url in (listing("accounts_account"), change(alice, "top_up"), listing("usage_usagerecord")):
        assert Client().get(url).status_code == 302
        assert Client().post(url, {"amount": "5", "reference": "x"}).status_code == 302
    assert Entry.objects.count() == 1


def test_an_operator_without_the_permission_moves_nothing(alice: Account, key: ApiKey) -> None:
    client = Client()
    client.force_login(User.objects.create_user("sam", is_staff=True))
    for url, page in (
        (change(alice, "top_up"), {"amount": "5", "reference": "x"}),
        (change(alice, "correct"), {"amount": "5", "reason": "x"}),
        (change(key, "suspend"), {"why": "x"}),
        (change(Model.objects.get(id="gpt-5-5"), "new_price"), {"input": "1", "output": "1"}),
    ):
        assert client.post(url, page).status_code == 403
    key.refresh_from_db()
    assert (Entry.objects.count(), key.status) == (1, "active")


def test_only_a_superuser_makes_operators(browser: Client) -> None:
    sam = User.objects.create_user("sam", is_staff=True)
    sam.user_permissions.set(Permission.objects.filter(codename__in=["change_user", "view_user"]))
    client = Client()
    client.force_login(sam)
    page = {
        "username": "sam",
        "email": "sam@example.com",
        "is_active": "on",
        "is_staff": "on",
        "is_superuser": "on",
    }
    assert client.post(change(sam), page).status_code == 302
    sam.refresh_from_db()
    assert not sam.is_superuser
    assert client.post(change(User.objects.get(username="olga")), page).status_code == 403


def test_people_are_added_with_a_password(browser: Client) -> None:
    page = {
        "username": "bob",
        "email": "bob@example.com",
        "usable_password": "true",
        "password1": "correct horse battery",
        "password2": "correct horse battery",
    }
    assert browser.post(reverse("admin:accounts_user_add"), page).status_code == 302
    bob = User.objects.get(username="bob")
    assert (bob.email, bob.is_staff, bob.check_password("correct horse battery")) == (
        "bob@example.com",
        False,
        True,
    )
    event = AuditEvent.objects.get(action="user.added")
    assert (event.actor, "battery" in str(event.detail)) == ("olga", False)


def test_groups_are_not_offered(browser: Client) -> None:
    assert "Groups" not in text_of(browser.get(reverse("admin:index")))


def test_an_account_that_was_set_elsewhere_shows_as_it_is_now(browser: Client, alice: Account) -> None:
    set_account(account_id=alice.id, actor="root", daily_budget=Credits.parse("3.5"))
    assert 'value="3.5"' in browser.get(change(alice)).content.decode()
