"""What operators do to accounts and money in the browser: every save goes through a service and says who did it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts import revisions
from apps.accounts.models import Account, AuditEvent, Member, User
from apps.accounts.services import create_account
from apps.core.clock import now
from apps.core.money import Credits
from apps.ledger.models import Entry, Grant
from apps.ledger.selectors import balance_of
from tests.flows.admin_pages import change, funded_account, listing, operators_browser, text_of

pytestmark = pytest.mark.django_db

NO_MEMBERS = {"members-TOTAL_FORMS": "0", "members-INITIAL_FORMS": "0"}


@pytest.fixture
def browser() -> Client:
    return operators_browser()


@pytest.fixture
def alice() -> Account:
    return funded_account("alice")


def test_a_new_account_gets_its_balance_and_its_people(browser: Client, alice: Account) -> None:
    bob = User.objects.create_user("bob", "bob@example.com")
    page = {
        "name": "initech",
        "status": "active",
        "rpm_limit": "50",
        "daily_budget": "1,000.5",
        "cli_violation": "block",
        "retention_days": "30",
        "keep_replies": "on",
        "members-TOTAL_FORMS": "1",
        "members-INITIAL_FORMS": "0",
        "members-0-user": str(bob.pk),
        "members-0-role": "owner",
    }
    reply = browser.post(reverse("admin:accounts_account_add"), page)
    account = Account.objects.get(name="initech")
    assert reply.status_code == 302
    assert (account.rpm_limit, account.daily_budget_micro, account.cli_violation) == (50, 1_000_500_000, "block")
    assert account.keep_replies
    assert balance_of(account.id).balance == Credits(0)
    assert [(member.user, member.role) for member in account.members.all()] == [(bob, "owner")]
    assert account.revision == revisions.current()[revisions.ACCOUNTS]
    assert set(AuditEvent.objects.filter(account=account).values_list("actor", "action")) == {
        ("olga", "account.created"),
        ("olga", "account.changed"),
        ("olga", "member.added"),
    }


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("name", "bob", "there is already an account named"),
        ("daily_budget", "-1", "the daily budget must not be negative"),
        ("daily_budget", "0.0000001", "more than six decimals"),
        ("daily_budget", "lots", "not an amount of credits"),
        ("rpm_limit", "0", "greater than or equal to 1"),
    ],
)
def test_a_field_that_does_not_add_up_says_why(
    browser: Client, alice: Account, field: str, value: str, line: str
) -> None:
    create_account(name="bob", actor="root")
    page = {"name": "alice", "status": "active", "rpm_limit": "5", "cli_violation": "block", "retention_days": "1"}
    reply = browser.post(change(alice), {**page, **NO_MEMBERS, field: value})
    assert reply.status_code == 200
    assert line in text_of(reply)
    alice.refresh_from_db()
    assert (alice.name, alice.rpm_limit) == ("alice", 10_000)


def test_people_change_roles_and_leave(browser: Client, alice: Account) -> None:
    bob, carol = (User.objects.create_user(name, f"{name}@example.com") for name in ("bob", "carol"))
    stays = Member.objects.create(account=alice, user=bob, role="viewer")
    leaves = Member.objects.create(account=alice, user=carol, role="owner")
    page = {
        "name": "alice",
        "status": "active",
        "rpm_limit": "10000",
        "cli_violation": "suspend",
        "retention_days": "90",
        "members-TOTAL_FORMS": "2",
        "members-INITIAL_FORMS": "2",
        "members-0-id": str(stays.pk),
        "members-0-user": str(bob.pk),
        "members-0-role": "admin",
        "members-1-id": str(leaves.pk),
        "members-1-user": str(carol.pk),
        "members-1-role": "owner",
        "members-1-DELETE": "on",
    }
    assert browser.post(change(alice), page).status_code == 302
    assert list(alice.members.values_list("user__username", "role")) == [("bob", "admin")]


def test_the_list_shows_what_each_account_has(browser: Client, alice: Account) -> None:
    assert "alice Active 1,000 credits 0 credits 1,000 credits 10000" in text_of(
        browser.get(listing("accounts_account"))
    )


def test_a_top_up_is_recorded_with_its_operator_and_counts_once(browser: Client, alice: Account) -> None:
    page = {"amount": "12.5", "reference": "invoice 7"}
    first = browser.post(change(alice, "top_up"), page, follow=True)
    assert "Balance of alice: 1,000 credits → 1,012.5 credits." in text_of(first)
    again = browser.post(change(alice, "top_up"), page, follow=True)
    assert "nothing moved again" in text_of(again)
    other = browser.post(change(alice, "top_up"), {**page, "amount": "13"})
    assert "was used for 12.5 credits, not 13" in text_of(other)
    assert balance_of(alice.id).balance == Credits.parse("1012.5")
    entry = Entry.objects.get(reference="invoice 7")
    assert (entry.actor, entry.kind, entry.amount_micro) == ("olga", "top_up", 12_500_000)


def test_a_correction_names_its_reason_and_never_goes_below_zero(browser: Client, alice: Account) -> None:
    page = {"amount": "-1000.000001", "reason": "double payment", "reference": "case 7"}
    refused = browser.post(change(alice, "correct"), page)
    assert refused.status_code == 200
    assert balance_of(alice.id).balance == Credits.whole(1_000)
    browser.post(change(alice, "correct"), {**page, "amount": "-1000"})
    entry = Entry.objects.get(kind="correction")
    assert (entry.actor, entry.reason, entry.balance_after_micro) == ("olga", "double payment", 0)
    empty = browser.post(change(alice, "correct"), {"amount": "", "reason": "", "reference": ""})
    assert text_of(empty).count("This field is required.") == 3


def test_a_correction_sent_twice_corrects_once(browser: Client, alice: Account) -> None:
    page = {"amount": "-10", "reason": "double payment", "reference": "case 7"}
    browser.post(change(alice, "correct"), page)
    again = browser.post(change(alice, "correct"), page, follow=True)
    assert "nothing moved again" in text_of(again)
    assert balance_of(alice.id).balance == Credits.whole(990)


def test_a_form_comes_with_a_reference_of_its_own(browser: Client, alice: Account) -> None:
    for page in ("top_up", "grant", "refund", "claw_back", "correct"):
        response = browser.get(change(alice, page))
        assert response.status_code == 200
        assert 'name="reference" value="manual ' in response.content.decode()


def test_a_grant_is_listed_with_what_remains_and_until_when(browser: Client, alice: Account) -> None:
    page = {
        "amount": "25",
        "expires_at_0": "2199-01-31",
        "expires_at_1": "12:00",
        "priority": "3",
        "reference": "hello",
    }
    shown = text_of(browser.post(change(alice, "grant"), page, follow=True))
    assert "Balance of alice: 1,000 credits → 1,025 credits." in shown
    grant = Grant.objects.get()
    assert (grant.amount_micro, grant.priority, grant.expires_at) == (
        25_000_000,
        3,
        datetime(2199, 1, 31, 12, tzinfo=UTC),
    )
    assert Entry.objects.get(kind="grant").actor == "olga"
    assert "alice 25 credits 25 credits 3 2199-01-31 12:00:00" in text_of(browser.get(listing("ledger_grant")))
    past = browser.post(change(alice, "grant"), {**page, "expires_at_0": "2020-01-31", "reference": "late"})
    assert "the grant would have expired already" in text_of(past)


def test_a_claw_back_beyond_the_balance_freezes_the_account(browser: Client, alice: Account) -> None:
    page = {"amount": "1200", "reason": "chargeback", "reference": "dispute 1"}
    shown = text_of(browser.post(change(alice, "claw_back"), page, follow=True))
    assert "Balance of alice: 1,000 credits → 0 credits." in shown
    assert "alice owes 200 credits and is frozen until you unfreeze it." in shown
    assert "Owed 200 credits" in text_of(browser.get(change(alice, "top_up")))
    alice.refresh_from_db()
    assert alice.status == "frozen"
    assert (balance_of(alice.id).balance, balance_of(alice.id).owed) == (Credits(0), Credits.whole(200))


def test_a_refund_names_a_call_that_was_charged(browser: Client, alice: Account) -> None:
    page = {"request_id": "nonsense", "amount": "", "reason": "", "reference": "case 7"}
    assert "This is not a request id." in text_of(browser.post(change(alice, "refund"), page))
    unknown = {**page, "request_id": "req_01a2051df3957266a2094978cb37b7d7"}
    assert "nothing is left of a charge for req_01a2051d" in text_of(browser.post(change(alice, "refund"), unknown))
    assert Entry.objects.count() == 1


def test_a_statement_is_shown_by_its_totals_and_sent_with_every_entry(browser: Client, alice: Account) -> None:
    browser.post(change(alice, "correct"), {"amount": "-10", "reason": "=1+1", "reference": "case 7"})
    shown = text_of(browser.get(change(alice, "statement")))
    assert "Opening balance 0 credits" in shown
    assert "top_up (1) 1,000 credits" in shown
    assert "correction (1) -10 credits" in shown
    assert "Closing balance 990 credits" in shown
    this_month = f"{now():%Y-%m}"
    sent = browser.post(change(alice, "statement"), {"month": this_month, "form": "csv"})
    assert sent["Content-Type"] == "text/csv; charset=utf-8"
    assert sent["Content-Disposition"] == f'attachment; filename="statement-{alice.id}-{this_month}.csv"'
    assert sent.content.decode().count("\r\n") == 3
    assert "'=1+1" in sent.content.decode()
    told = browser.post(change(alice, "statement"), {"month": this_month, "form": "json"}).json()
    assert (told["opening"], told["closing"], len(told["entries"])) == (0, 990, 2)
    before = text_of(browser.post(change(alice, "statement"), {"month": "2020-01", "form": "page"}))
    assert "January 2020" in before
    assert "Closing balance 0 credits" in before
    assert "not a month, like 2026-11" in text_of(
        browser.post(change(alice, "statement"), {"month": "soon", "form": "page"})
    )


def test_nobody_deletes_an_account(browser: Client, alice: Account) -> None:
    assert browser.post(change(alice, "delete"), {"post": "yes"}).status_code == 403
    assert Account.objects.filter(pk=alice.pk).exists()
