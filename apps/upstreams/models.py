"""Where a model's calls go."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MinValueValidator
from django.db import models

from apps.accounts.bounds import in_bounds
from apps.catalog.models import Model
from apps.core.ids import new_id


class Route(models.Model):
    """An upstream for a model. A model with an enabled route no longer uses the simulator."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="routes")
    provider = models.CharField(max_length=60)
    dialects = models.JSONField(help_text="Dialects this upstream speaks, in order of preference.")
    base_url = models.URLField(
        max_length=300,
        help_text="What the provider's own SDK takes: …/v1 for OpenAI dialects, the bare root for "
        "anthropic-messages, …/v1beta for gemini.",
    )
    upstream_model = models.CharField(max_length=150, help_text="The model's name at the provider.")
    credential_env = models.CharField("credential variable", max_length=100, blank=True)
    credential_file = models.CharField(max_length=255, blank=True, help_text="In the directory for credentials.")
    credential_sealed = models.TextField(blank=True, editable=False)
    weight = models.PositiveIntegerField(default=100, validators=[MinValueValidator(1)])
    priority = models.PositiveIntegerField(default=0, help_text="Lower is tried first.")
    is_enabled = models.BooleanField("enabled", default=True)
    exposes_model = models.BooleanField("replies show the upstream's model name", default=False)
    keeps_state = models.BooleanField(
        "replies may be stored",
        default=False,
        help_text="Callers may ask this provider to store a reply, and build on it with previous_response_id.",
    )
    connect_timeout_ms = models.PositiveIntegerField(default=5_000)
    first_byte_timeout_ms = models.PositiveIntegerField(default=300_000)
    idle_timeout_ms = models.PositiveIntegerField(default=120_000)
    total_timeout_ms = models.PositiveIntegerField(default=900_000)
    created_at = models.DateTimeField(auto_now_add=True)
    revision = models.BigIntegerField(default=0, editable=False, db_index=True)

    class Meta:
        ordering: ClassVar = ["model", "priority", "created_at"]

    def __str__(self) -> str:
        return f"{self.model_id} via {self.provider}"


class StoredState(models.Model):
    """An id of something that a provider keeps, and the account that made it. No foreign keys: it expires by itself."""

    account_id = models.UUIDField()
    kind = models.CharField(max_length=10)
    digest = models.CharField(max_length=64)
    route_key = models.CharField(max_length=120)
    tokens = models.BigIntegerField()
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account_id", "kind", "digest"], name="one_state_of_an_account"),
            models.CheckConstraint(condition=in_bounds("tokens"), name="stored_state_in_bounds"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.account_id}"
