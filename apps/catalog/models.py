"""What can be called, what it costs, and how much of it at once."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from apps.accounts.bounds import in_bounds, in_bounds_if_any
from apps.core.ids import new_id


class Model(models.Model):
    """One model under its stable id. Rows come from `load_catalog` and the admin."""

    class Surface(models.TextChoices):
        TEXT = "text"
        IMAGE = "image"

    class CliEnforcement(models.TextChoices):
        ENFORCE = "enforce", "block what is not the CLI's"
        RECORD = "record", "only record (dry run)"

    id = models.CharField("model id", primary_key=True, max_length=100)
    name = models.CharField(max_length=100)
    surface = models.CharField(max_length=10, choices=Surface)
    context_tokens = models.PositiveIntegerField()
    max_output_tokens = models.PositiveIntegerField(null=True, blank=True)
    cli_only = models.BooleanField("CLI only", default=False)
    cli_enforcement = models.CharField(
        "CLI enforcement",
        max_length=10,
        choices=CliEnforcement,
        default=CliEnforcement.ENFORCE,
        help_text="Of a CLI-only model.",
    )
    cli_entrypoints = models.JSONField(
        "CLI entrypoints",
        default=list,
        blank=True,
        help_text="Entrypoints that may call a CLI-only model beside cli and sdk-cli: claude-vscode, sdk-ts, …",
    )
    is_enabled = models.BooleanField("enabled", default=True)
    dialects = models.JSONField(help_text="Upstream dialects in order of preference.")
    input_modalities = models.JSONField(default=list)
    output_modalities = models.JSONField(default=list)
    max_tokens_field = models.CharField(
        max_length=40, blank=True, help_text="Chat: the name of the maximum that is sent where the caller names none."
    )
    bounds = models.JSONField(default=dict, help_text="What an item costs at most that the text does not show.")
    created_at = models.DateTimeField(auto_now_add=True)
    revision = models.BigIntegerField(default=0, editable=False, db_index=True)

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return self.id


class PriceVersion(models.Model):
    """The prices of a model from an instant on. Never changed: a new price is a new version.

    Units: microcredits per million tokens; `server_tool_request` per thousand requests. NULL: the meter does not exist.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="prices")
    version = models.PositiveIntegerField()
    effective_at = models.DateTimeField()
    input = models.BigIntegerField()
    cache_read = models.BigIntegerField(null=True, blank=True)
    cache_write = models.BigIntegerField("cache write (5 minutes)", null=True, blank=True)
    cache_write_1h = models.BigIntegerField("cache write (1 hour)", null=True, blank=True)
    output = models.BigIntegerField()
    server_tool_request = models.BigIntegerField(null=True, blank=True)
    modifiers = models.JSONField(
        default=dict,
        blank=True,
        help_text='Factors of all token prices, in thousandths, by field and word: {"service_tier=priority": 1750}.',
    )

    class Meta:
        ordering: ClassVar = ["model", "-version"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["model", "version"], name="price_version_once_per_model"),
            models.CheckConstraint(
                condition=Q(input__gte=0, output__gte=0)
                & (Q(cache_read__gte=0) | Q(cache_read=None))
                & (Q(cache_write__gte=0) | Q(cache_write=None))
                & (Q(cache_write_1h__gte=0) | Q(cache_write_1h=None))
                & (Q(server_tool_request__gte=0) | Q(server_tool_request=None)),
                name="price_not_negative",
            ),
            models.CheckConstraint(
                condition=in_bounds("input", "output")
                & in_bounds_if_any("cache_read", "cache_write", "cache_write_1h", "server_tool_request"),
                name="price_in_bounds",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model_id} v{self.version}"


class Notice(models.Model):
    """A field, tool or beta in a request that nobody knew yet. It passed, and was metered by what the upstream counted:
    does it want a price or a bound?"""

    class Kind(models.TextChoices):
        FIELD = "field"
        TOOL = "tool"
        BETA = "beta"

    kind = models.CharField(max_length=10, choices=Kind)
    dialect = models.CharField(max_length=30)
    name = models.CharField(max_length=100)
    model_id = models.CharField("first asked of", max_length=100)
    first_seen_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-first_seen_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["kind", "dialect", "name"], name="notice_once_per_name"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Policy(models.Model):
    """The governor's and the insurance's figures for one model."""

    model = models.OneToOneField(Model, primary_key=True, on_delete=models.CASCADE, related_name="policy")
    concurrency = models.PositiveIntegerField("slots", validators=[MinValueValidator(1)])
    rpm = models.PositiveIntegerField("requests per minute", validators=[MinValueValidator(1)])
    tpm = models.PositiveBigIntegerField("tokens per minute", validators=[MinValueValidator(1)])
    ipm = models.PositiveIntegerField("images per minute", null=True, blank=True)
    queue_seconds = models.PositiveIntegerField(help_text="0: no queue.")
    queue_length = models.PositiveIntegerField("queued calls")
    queue_tokens = models.PositiveBigIntegerField("queued tokens")
    insurance_threshold_ms = models.PositiveIntegerField("insurance threshold (ms)", default=90_000)
    insurance_percent = models.PositiveIntegerField(
        "insurance payout (% of the charge)", default=25, validators=[MaxValueValidator(100)]
    )
    insurance_ms_per_output_token = models.PositiveIntegerField(
        "added to a stream's threshold per output token (ms)", default=25
    )

    class Meta:
        verbose_name_plural = "policies"

    def __str__(self) -> str:
        return f"policy of {self.model_id}"


class InsuranceVersion(models.Model):
    """What insurance promises for calls of a model from an instant on. Never changed: other figures are a new version.

    Every insured call's usage record names its version, so that any payout can be computed again.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="insurance_versions")
    version = models.PositiveIntegerField()
    effective_at = models.DateTimeField()
    threshold_ms = models.PositiveIntegerField("threshold (ms)")
    percent = models.PositiveIntegerField("payout (% of the charge)", help_text="0: calls are not insured.")
    ms_per_output_token = models.PositiveIntegerField("added to a stream's threshold per output token (ms)")

    class Meta:
        ordering: ClassVar = ["model", "-version"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["model", "version"], name="insurance_version_once_per_model"),
            models.CheckConstraint(condition=Q(percent__lte=100), name="insurance_pays_no_more_than_the_charge"),
        ]

    def __str__(self) -> str:
        return f"{self.model_id} v{self.version}"
