"""Who pays, who belongs to whom, who did what; and two small tables about the installation itself."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.core.validators import MinValueValidator
from django.db import models

from apps.accounts.bounds import in_bounds_if_any
from apps.core.ids import new_id
from apps.core.money import MICRO_PER_CREDIT

DEFAULT_ACCOUNT_RPM = 10_000
DEFAULT_RETENTION_DAYS = 90
DEFAULT_ABSORBED_CAP_MICRO = 1_000 * MICRO_PER_CREDIT
"""US$10 a day: some calls with server tools that nobody foresaw, and no more."""

DEFAULT_INSURANCE_CAP_MICRO = 10_000 * MICRO_PER_CREDIT
"""US$100 a day: an upstream that is slow for everybody is paid for, but not without end."""


class User(AbstractUser):
    """A person who signs in. Operators have `is_staff`; what they are to an account says Member."""


class Account(models.Model):
    """Who pays. Its balance is the ledger's."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        FROZEN = "frozen"

    class CliViolation(models.TextChoices):
        BLOCK = "block", "block the call"
        SUSPEND = "suspend", "block the call and suspend the key"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=100, unique=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)
    rpm_limit = models.PositiveIntegerField(
        "requests per minute", default=DEFAULT_ACCOUNT_RPM, validators=[MinValueValidator(1)]
    )
    daily_budget_micro = models.BigIntegerField("daily budget", null=True, blank=True)
    absorbed_cap_micro = models.BigIntegerField(
        "absorbed a day", null=True, blank=True, default=DEFAULT_ABSORBED_CAP_MICRO
    )
    insurance_cap_micro = models.BigIntegerField(
        "insurance payouts a day", null=True, blank=True, default=DEFAULT_INSURANCE_CAP_MICRO
    )
    cli_violation = models.CharField(max_length=10, choices=CliViolation, default=CliViolation.SUSPEND)
    retention_days = models.PositiveIntegerField(default=DEFAULT_RETENTION_DAYS)
    keep_replies = models.BooleanField(
        "keep replies for repeats",
        default=False,
        help_text="What calls with an Idempotency-Key were answered is kept for a day, and given to their repeats.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    revision = models.BigIntegerField(default=0, editable=False, db_index=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(daily_budget_micro__gte=0) | models.Q(daily_budget_micro=None),
                name="account_daily_budget_not_negative",
            ),
            models.CheckConstraint(
                condition=in_bounds_if_any("daily_budget_micro", "absorbed_cap_micro"), name="account_in_bounds"
            ),
            models.CheckConstraint(
                condition=in_bounds_if_any("insurance_cap_micro"), name="account_insurance_cap_in_bounds"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Member(models.Model):
    """A person's part in an account."""

    class Role(models.TextChoices):
        OWNER = "owner"
        ADMIN = "admin"
        MEMBER = "member"
        VIEWER = "viewer"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="members")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "user"], name="member_once_per_account"),
        ]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"


class AuditEvent(models.Model):
    """Who changed what, for operators and the people of an account. Written by services, never changed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey(Account, null=True, blank=True, on_delete=models.CASCADE)
    actor = models.CharField(max_length=150, help_text="A user name, or `command line`.")
    action = models.CharField(max_length=60)
    target = models.CharField(max_length=150)
    detail = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-created_at"]
        indexes: ClassVar = [models.Index(fields=["account", "-created_at"], name="audit_by_account")]

    def __str__(self) -> str:
        return f"{self.action} {self.target}"


class Notification(models.Model):
    """Something about an account that its people and the operator should hear of: told once per subject."""

    class Kind(models.TextChoices):
        BUDGET = "budget", "budget nearly or wholly spent"
        ABSORBED = "absorbed", "the house paid for calls"
        ABSORBED_CAP = "absorbed_cap", "no more calls today: the house paid too much"
        DEBT = "debt", "owes for a reversed payment"
        INSURANCE_CAP = "insurance_cap", "no more insurance payouts today"
        CLI_VIOLATION = "cli_violation", "a call to a CLI-only model was not the CLI's"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE)
    kind = models.CharField(max_length=20, choices=Kind)
    subject = models.CharField(max_length=250, help_text="What it is about: one of a kind is told once.")
    message = models.CharField(max_length=300)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-created_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "kind", "subject"], name="notification_once_per_subject"),
        ]
        indexes: ClassVar = [models.Index(fields=["account", "-created_at"], name="notification_by_account")]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"


class OperatorAlert(models.Model):
    """Something about the installation that an operator should see to: one row per kind and subject while it is open.

    It counts its repeats. Once resolved it stays as it is; what comes back later opens another.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=40)
    subject = models.CharField(max_length=200, help_text="What it is about: a route, a model, a store.")
    message = models.CharField(max_length=500, help_text="As it was said last.")
    times = models.PositiveIntegerField(default=1)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering: ClassVar = ["-last_seen_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["kind", "subject"], condition=models.Q(resolved_at=None), name="alert_open_once_per_subject"
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["-last_seen_at"], name="alert_by_last_seen")]

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}"


class Revision(models.Model):
    """One row per kind of snapshot. A service that changes such rows takes this row, adds one, and stamps what it
    changed with the new value; so a process that reads "revision > the last I saw" misses none (see revisions.py)."""

    topic = models.CharField(primary_key=True, max_length=30)
    value = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.topic} {self.value}"


class SecretFingerprint(models.Model):
    """What the installation's secrets looked like when last used: a process with others refuses to start."""

    name = models.CharField(primary_key=True, max_length=60)
    fingerprint = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name
