"""API keys and what each may do. A key itself is never stored, only its keyed digest."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q

from apps.accounts.bounds import in_bounds_if_any
from apps.accounts.models import Account
from apps.core.ids import new_id


class ApiKey(models.Model):
    """What calls. Amounts are microcredits; NULL means no such limit, an empty list means all."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        SUSPENDED = "suspended"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="keys")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    last4 = models.CharField("ends in", max_length=4, editable=False)
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)
    suspended_reason = models.CharField(max_length=200, blank=True)
    suspended_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    allowed_models = models.JSONField(default=list, blank=True)
    allowed_networks = models.JSONField(default=list, blank=True)
    limit_micro = models.BigIntegerField("lifetime limit", null=True, blank=True)
    daily_budget_micro = models.BigIntegerField("daily budget", null=True, blank=True)
    hourly_budget_micro = models.BigIntegerField("hourly budget", null=True, blank=True)
    rpm_limit = models.PositiveIntegerField(
        "requests per minute", null=True, blank=True, validators=[MinValueValidator(1)]
    )
    created_at = models.DateTimeField(auto_now_add=True)
    revision = models.BigIntegerField(default=0, editable=False, db_index=True)

    class Meta:
        ordering: ClassVar = ["account", "-created_at"]
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        indexes: ClassVar = [models.Index(fields=["account", "-created_at"], name="key_by_account")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=(Q(limit_micro__gte=0) | Q(limit_micro=None))
                & (Q(daily_budget_micro__gte=0) | Q(daily_budget_micro=None))
                & (Q(hourly_budget_micro__gte=0) | Q(hourly_budget_micro=None)),
                name="key_limits_not_negative",
            ),
            models.CheckConstraint(
                condition=in_bounds_if_any("limit_micro", "daily_budget_micro", "hourly_budget_micro"),
                name="key_limits_in_bounds",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} (…{self.last4})"


class ModelLimit(models.Model):
    """What one key may spend on one model in its lifetime, and how often it may call it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="model_limits")
    model_id = models.CharField(max_length=100)
    limit_micro = models.BigIntegerField("limit", null=True, blank=True)
    rpm_limit = models.PositiveIntegerField(
        "requests per minute", null=True, blank=True, validators=[MinValueValidator(1)]
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["key", "model_id"], name="model_limit_once_per_key"),
            models.CheckConstraint(
                condition=Q(limit_micro__gte=0) | Q(limit_micro=None), name="model_limit_not_negative"
            ),
            models.CheckConstraint(condition=in_bounds_if_any("limit_micro"), name="model_limit_in_bounds"),
        ]

    def __str__(self) -> str:
        return self.model_id


class CliViolation(models.Model):
    """A call to a CLI-only model that was not the official CLI's, what failed, and what followed.

    Evidence is redacted: no prompt, no id, no header's value but the cut User-Agent.
    """

    class Verdict(models.TextChoices):
        DOUBTFUL = "doubtful", "doubtful: a sign is missing"
        FOREIGN = "foreign", "foreign: another program spoke"

    class Consequence(models.TextChoices):
        RECORDED = "recorded", "served, only recorded (dry run)"
        BLOCKED = "blocked", "blocked"
        STRUCK = "struck", "blocked, a strike"
        SUSPENDED = "suspended", "blocked, the key suspended"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="cli_violations")
    account = models.ForeignKey(Account, on_delete=models.CASCADE)
    model_id = models.CharField(max_length=100)
    request_id = models.UUIDField()
    verdict = models.CharField(max_length=10, choices=Verdict)
    signs = models.JSONField(help_text="Names of the signs that failed.")
    words = models.CharField(max_length=500, help_text="The same for people.")
    evidence = models.JSONField()
    consequence = models.CharField(max_length=10, choices=Consequence)
    strike = models.PositiveSmallIntegerField(default=0, help_text="Of the key within a day; 0: none.")
    created_at = models.DateTimeField()
    lifted_at = models.DateTimeField(null=True, blank=True)
    lifted_by = models.CharField(max_length=150, blank=True)
    lifted_reason = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering: ClassVar = ["-created_at"]
        verbose_name = "CLI violation"
        indexes: ClassVar = [
            models.Index(fields=["key", "-created_at"], name="cli_violation_by_key"),
            models.Index(fields=["account", "-created_at"], name="cli_violation_by_account"),
            models.Index(fields=["-created_at"], name="cli_violation_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.verdict} {self.id}"


class CliSighting(models.Model):
    """A device or a session of the CLI, and whose it is. Ids are stored as keyed digests only; rows expire."""

    class Kind(models.TextChoices):
        DEVICE = "device", "a device, of an account"
        KEY_DEVICE = "key_device", "a device, on a key"
        SESSION = "session", "a session, of a key and a device"

    digest = models.CharField(
        primary_key=True, max_length=64, help_text="Of kind and id; of the key too, where it is one's."
    )
    kind = models.CharField(max_length=10, choices=Kind)
    account = models.ForeignKey(Account, on_delete=models.CASCADE)
    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE)
    device = models.CharField(max_length=64, help_text="The device's digest.")
    seen_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = "CLI sighting"
        indexes: ClassVar = [models.Index(fields=["key", "kind", "seen_at"], name="cli_sighting_by_key")]

    def __str__(self) -> str:
        return f"{self.kind} {self.digest[:12]}"
