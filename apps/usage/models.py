"""One record per request: what was asked, what it used, what it cost, how it ended. No prompt, no reply."""

from __future__ import annotations

from typing import ClassVar, Final

from django.db import models
from django.db.models import F, Q

from apps.accounts.bounds import in_bounds, in_bounds_if_any
from apps.usage import record

COUNTS: Final = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "image_input_tokens",
    "image_output_tokens",
    "server_tool_requests",
    "charge_micro",
    "compensated_micro",
    "absorbed_micro",
    "held_micro",
)
"""What a call used and what it cost."""


class UsageRecord(models.Model):
    """Written in the transaction that moves the money, and once more where insurance pays for a stream. No foreign
    keys: it outlives what it names.

    Partitioned by RANGE(request_id) on PostgreSQL: a UUIDv7 begins with its time.
    """

    class Status(models.TextChoices):
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        ABANDONED = "abandoned"
        REFUSED = "refused"

    class Endpoint(models.TextChoices):
        CHAT = "chat"
        RESPONSES = "responses"
        IMAGES = "images"
        MESSAGES = "messages"

    class Claim(models.TextChoices):
        """What became of a call's insurance; empty where it is not insured: it failed, or its model is not."""

        NOT_TRIGGERED = record.NOT_TRIGGERED
        DUE = record.DUE, "due: a stream's, to be paid in a moment"
        PAID = record.PAID
        CAPPED = record.CAPPED, "capped: the day's cap left less than was due, or nothing"
        VOID = record.VOID, "void: the call was told that it failed"

    request_id = models.UUIDField(primary_key=True)
    account_id = models.UUIDField()
    key_id = models.UUIDField()
    model_id = models.CharField(max_length=100)
    endpoint = models.CharField(max_length=10, choices=Endpoint)
    status = models.CharField(max_length=10, choices=Status)
    is_stream = models.BooleanField()
    http_status = models.PositiveSmallIntegerField()
    error_code = models.CharField(max_length=40, blank=True)
    error_detail = models.CharField(max_length=300, blank=True)
    input_tokens = models.BigIntegerField(default=0)
    cache_read_tokens = models.BigIntegerField(default=0)
    cache_write_5m_tokens = models.BigIntegerField(default=0)
    cache_write_1h_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    image_input_tokens = models.BigIntegerField(default=0)
    image_output_tokens = models.BigIntegerField(default=0)
    server_tool_requests = models.BigIntegerField(default=0)
    price_version_id = models.UUIDField(null=True)
    insurance_version_id = models.UUIDField(null=True)
    threshold_ms = models.BigIntegerField(null=True, help_text="What the latency was held against.")
    claim = models.CharField(max_length=14, choices=Claim, blank=True, default="", db_default="")
    claim_trigger = models.CharField(max_length=14, blank=True, default="", db_default="")
    due_micro = models.BigIntegerField(
        default=0, db_default=0, help_text="What the insurance pays for the call, the day's cap left aside."
    )
    charge_micro = models.BigIntegerField(default=0)
    compensated_micro = models.BigIntegerField(default=0)
    absorbed_micro = models.BigIntegerField(default=0)
    held_micro = models.BigIntegerField(default=0)
    is_estimated = models.BooleanField(default=False)
    latency_ms = models.BigIntegerField()
    first_byte_ms = models.BigIntegerField(null=True)
    queue_ms = models.BigIntegerField(default=0)
    session_id = models.CharField(max_length=200, blank=True)
    client = models.CharField("User-Agent", max_length=200, blank=True)
    route_id = models.UUIDField(null=True)
    provider = models.CharField(max_length=60, blank=True)
    upstream_request_id = models.CharField(max_length=120, blank=True)
    adapted = models.CharField(max_length=3_000, blank=True, help_text="What the gateway changed on the way.")
    facts = models.JSONField(null=True, help_text="Of a refusal: the limit, its value, its use, when it turns.")
    attempts = models.JSONField(
        null=True, help_text="What upstreams were asked, where the first one did not serve the call: route, status, ms."
    )
    received_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-request_id"]
        indexes: ClassVar = [
            models.Index(fields=["account_id", "-request_id"], name="usage_by_account"),
            models.Index(fields=["account_id", "request_id"], name="usage_due", condition=Q(claim=record.DUE)),
            models.Index(fields=["-request_id"], name="usage_claims", condition=Q(due_micro__gt=0)),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=in_bounds(*COUNTS), name="usage_in_bounds"),
            models.CheckConstraint(
                condition=in_bounds("due_micro")
                & in_bounds_if_any("threshold_ms")
                & Q(compensated_micro__lte=F("due_micro"), due_micro__lte=F("charge_micro")),
                name="usage_insurance_in_bounds",
            ),
        ]

    def __str__(self) -> str:
        return f"req_{self.request_id.hex}"
