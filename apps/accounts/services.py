"""Changes to accounts and the people of them: one transaction, one revision, one audit event each."""

from __future__ import annotations

import uuid
from typing import TypedDict, Unpack

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from apps.accounts import audit, revisions
from apps.accounts.mistakes import AccountMistake, check_choice, check_range, clean_line
from apps.accounts.models import Account, Member, User
from apps.core.money import Credits

NAME_LENGTH = 100
EMAIL_LENGTH = 150
"""A person invited by address gets it as user name, whose column is shorter than an address may be."""


class AccountChanges(TypedDict, total=False):
    """What `set_account` may change; a key that is absent stays as it is."""

    name: str
    status: str
    rpm_limit: int
    daily_budget: Credits | None
    absorbed_cap: Credits | None
    insurance_cap: Credits | None
    cli_violation: str
    retention_days: int
    keep_replies: bool


@transaction.atomic
def create_account(*, name: str, actor: str) -> Account:
    """Open an account without money; the ledger opens its balance in the same transaction of the caller.

    Raises: AccountMistake, Mistake.
    """
    name = check_account_name(name)
    account = Account.objects.create(name=name, revision=revisions.bump(revisions.ACCOUNTS))
    audit.record(actor=actor, action="account.created", target=account, account_id=account.id)
    return account


@transaction.atomic
def set_account(*, account_id: uuid.UUID, actor: str, **changes: Unpack[AccountChanges]) -> Account:
    """Change an account's settings; writes nothing where nothing differs.

    Raises: AccountMistake, Mistake.
    """
    account = Account.objects.select_for_update().get(id=account_id)
    changed = audit.assign(account, _columns(changes, account))
    if changed:
        account.revision = revisions.bump(revisions.ACCOUNTS)
        account.save()
        audit.record(actor=actor, action="account.changed", target=account, account_id=account.id, detail=changed)
    return account


def renew_snapshot(account_id: uuid.UUID) -> None:
    """Have every process read this account anew within a second: what it was refused for may be gone.

    Part of the transaction around it.
    """
    account = Account.objects.select_for_update().get(id=account_id)
    account.revision = revisions.bump(revisions.ACCOUNTS)
    account.save(update_fields=["revision"])


@transaction.atomic
def add_member(*, account_id: uuid.UUID, email: str, role: str, actor: str) -> Member:
    """Make the person with this address a member. Somebody new gets a user without a password, which an operator sets.

    Raises: AccountMistake, Mistake.
    """
    person = _person(email)
    return admit_member(account_id=account_id, user_id=person.pk, role=role, actor=actor)


@transaction.atomic
def admit_member(*, account_id: uuid.UUID, user_id: int, role: str, actor: str) -> Member:
    """Make a user a member, or give a member another role.

    Raises: AccountMistake, Mistake.
    """
    check_choice(role, "role", Member.Role.values)
    member, is_new = Member.objects.get_or_create(account_id=account_id, user_id=user_id, defaults={"role": role})
    was = member.role
    if is_new or was != role:
        member.role = role
        member.save(update_fields=["role"])
        audit.record(
            actor=actor,
            action="member.added" if is_new else "member.changed",
            target=member.user,
            account_id=account_id,
            detail={"role": [None if is_new else was, role]},
        )
    return member


@transaction.atomic
def remove_member(*, member_id: uuid.UUID, actor: str) -> None:
    """End a membership; the person keeps their user."""
    member = Member.objects.select_related("user").get(id=member_id)
    audit.record(
        actor=actor,
        action="member.removed",
        target=member.user,
        account_id=member.account_id,
        detail={"role": [member.role, None]},
    )
    member.delete()


def check_account_name(name: str, *, account_id: uuid.UUID | None = None) -> str:
    """Return the name, cleaned, where this account may have it.

    Raises: AccountMistake, Mistake.
    """
    name = clean_line(name, "the account's name", most=NAME_LENGTH)
    try:
        uuid.UUID(name)
    except ValueError:
        pass
    else:
        raise AccountMistake("an account's name must not look like an id")
    others = Account.objects.filter(name=name)
    if (others if account_id is None else others.exclude(id=account_id)).exists():
        raise AccountMistake(f"there is already an account named {name!r}")
    return name


def check_budget(amount: Credits | None, what: str) -> int | None:
    """A budget's microcredits; None for no budget.

    Raises: AccountMistake, where it is negative.
    """
    if amount is None:
        return None
    if amount.micro < 0:
        raise AccountMistake(f"{what} must not be negative")
    return amount.micro


def _columns(changes: AccountChanges, account: Account) -> dict[str, object]:
    columns: dict[str, object] = {}
    if "name" in changes and changes["name"] != account.name:
        columns["name"] = check_account_name(changes["name"], account_id=account.id)
    if "status" in changes:
        columns["status"] = check_choice(changes["status"], "status", Account.Status.values)
    if "rpm_limit" in changes:
        columns["rpm_limit"] = check_range(changes["rpm_limit"], "requests per minute")
    if "daily_budget" in changes:
        columns["daily_budget_micro"] = check_budget(changes["daily_budget"], "the daily budget")
    if "absorbed_cap" in changes:
        columns["absorbed_cap_micro"] = check_budget(changes["absorbed_cap"], "what the house absorbs a day")
    if "insurance_cap" in changes:
        columns["insurance_cap_micro"] = check_budget(changes["insurance_cap"], "what insurance pays a day")
    if "cli_violation" in changes:
        columns["cli_violation"] = check_choice(changes["cli_violation"], "cli violation", Account.CliViolation.values)
    if "retention_days" in changes:
        columns["retention_days"] = check_range(changes["retention_days"], "retention days")
    if "keep_replies" in changes:
        columns["keep_replies"] = changes["keep_replies"]
    return columns


def _person(email: str) -> User:
    """The one user with this address, or a new one.

    Raises: AccountMistake.
    """
    email = email.strip()
    try:
        validate_email(email)
    except ValidationError:
        raise AccountMistake(f"not an email address: {email!r}") from None
    if len(email) > EMAIL_LENGTH:
        raise AccountMistake(f"the email address is longer than {EMAIL_LENGTH} characters")
    known = list(User.objects.filter(email__iexact=email)[:2])
    if len(known) > 1:
        raise AccountMistake(f"several users have the email address {email}: choose one in the admin")
    if known:
        return known[0]
    if User.objects.filter(username__iexact=email).exists():
        raise AccountMistake(f"another user has {email} as user name: choose them in the admin")
    return User.objects.create_user(username=email, email=email, password=None)
