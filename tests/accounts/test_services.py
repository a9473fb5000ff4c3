"""Accounts and people change through services: one revision, one audit event, a clear line for a mistake."""

from __future__ import annotations

import pytest

from apps.accounts import revisions, services
from apps.accounts.mistakes import Mistake
from apps.accounts.models import Account, AuditEvent, Member, User
from apps.accounts.selectors import account_settings, find_account
from apps.core.money import Credits

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> Account:
    return services.create_account(name="alice", actor="root")


def revision() -> int:
    return revisions.current().get(revisions.ACCOUNTS, 0)


def audit_trail() -> list[tuple[str, str, str, object]]:
    events = AuditEvent.objects.order_by("id")
    return [(event.actor, event.action, event.target, event.detail) for event in events]


def test_a_new_account_carries_the_revision_that_pollers_look_for() -> None:
    account = services.create_account(name="  alice  ", actor="root")
    assert (account.name, account.status, account.rpm_limit) == ("alice", "active", 10_000)
    assert account.revision == revision() == 1
    assert audit_trail() == [("root", "account.created", "alice", {})]


def test_settings_change_once_and_say_what_they_were(alice: Account) -> None:
    changed = services.set_account(account_id=alice.id, actor="root", rpm_limit=7, daily_budget=Credits.parse("12.5"))
    assert (changed.rpm_limit, changed.daily_budget_micro, changed.revision) == (7, 12_500_000, 2)
    assert audit_trail()[1:] == [
        ("root", "account.changed", "alice", {"rpm_limit": [10_000, 7], "daily_budget_micro": [None, 12_500_000]})
    ]


def test_a_change_to_what_is_already_so_writes_nothing(alice: Account) -> None:
    services.set_account(account_id=alice.id, actor="root", rpm_limit=10_000, status="active", daily_budget=None)
    assert revision() == 1
    assert len(audit_trail()) == 1


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"rpm_limit": 0}, "requests per minute must be from 1 to 2147483647, not 0"),
        ({"retention_days": -1}, "retention days must be from 1 to 2147483647, not -1"),
        ({"daily_budget": Credits(-1)}, "the daily budget must not be negative"),
        ({"cli_violation": "shout"}, "cli violation is 'shout': use one of block, suspend"),
        ({"status": "gone"}, "status is 'gone': use one of active, frozen"),
        ({"name": ""}, "the account's name is empty"),
        ({"name": "a\nb"}, "the account's name has characters that do not print"),
        ({"name": "bob"}, "there is already an account named 'bob'"),
    ],
)
def test_what_does_not_add_up_is_refused_and_changes_nothing(
    alice: Account, changes: services.AccountChanges, line: str
) -> None:
    services.create_account(name="bob", actor="root")
    before = account_settings(alice)
    with pytest.raises(Mistake) as refused:
        services.set_account(account_id=alice.id, actor="root", **changes)
    assert str(refused.value) == line
    alice.refresh_from_db()
    assert account_settings(alice) == before


def test_a_name_that_looks_like_an_id_is_refused() -> None:
    with pytest.raises(Mistake, match="must not look like an id"):
        services.create_account(name="01a2051d-0287-7243-b65b-e1a5a4827cb9", actor="root")


def test_an_account_is_found_by_id_and_by_name(alice: Account) -> None:
    assert find_account("alice") == find_account(str(alice.id)) == alice
    with pytest.raises(Mistake, match="no account with the id or name 'charlie'"):
        find_account("charlie")


def test_somebody_new_gets_a_user_who_cannot_sign_in_yet(alice: Account) -> None:
    member = services.add_member(account_id=alice.id, email="Bob@example.com", role="viewer", actor="root")
    assert (member.user.username, member.user.email, member.role) == ("Bob@example.com", "Bob@example.com", "viewer")
    assert not member.user.has_usable_password()
    assert not member.user.is_staff
    assert audit_trail()[1:] == [("root", "member.added", "Bob@example.com", {"role": [None, "viewer"]})]


def test_a_member_gets_another_role_and_no_second_membership(alice: Account) -> None:
    first = services.add_member(account_id=alice.id, email="bob@example.com", role="viewer", actor="root")
    again = services.add_member(account_id=alice.id, email="BOB@example.com", role="owner", actor="root")
    assert (again.id, again.role) == (first.id, "owner")
    assert list(alice.members.values_list("role", flat=True)) == ["owner"]
    assert audit_trail()[-1] == ("root", "member.changed", "bob@example.com", {"role": ["viewer", "owner"]})


def test_an_address_that_names_nobody_or_several_is_refused(alice: Account) -> None:
    User.objects.create_user("one", "twin@example.com")
    User.objects.create_user("two", "Twin@example.com")
    for email, line in (
        ("bob", "not an email address: 'bob'"),
        ("twin@example.com", "several users have the email address twin@example.com: choose one in the admin"),
        ("x" * 140 + "@example.com", "the email address is longer than 150 characters"),
    ):
        with pytest.raises(Mistake, match=line):
            services.add_member(account_id=alice.id, email=email, role="owner", actor="root")
    assert not Member.objects.exists()


def test_who_leaves_an_account_keeps_their_user(alice: Account) -> None:
    member = services.add_member(account_id=alice.id, email="bob@example.com", role="admin", actor="root")
    services.remove_member(member_id=member.id, actor="root")
    assert not alice.members.exists()
    assert User.objects.filter(email="bob@example.com").exists()
    assert audit_trail()[-1] == ("root", "member.removed", "bob@example.com", {"role": ["admin", None]})
