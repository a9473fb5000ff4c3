"""The usage log as operators read it: newest first, never counted, never changed."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from apps.accounts.admin_base import (
    AccountFilter,
    InfinitePaginator,
    PeriodFilter,
    RequestLogAdmin,
    TextFilter,
    account_link,
    account_name_column,
    instant_text,
)
from apps.accounts.admin_forms import credits_text
from apps.catalog.models import Model
from apps.core.ids import show_request_id
from apps.usage.models import UsageRecord


class ModelFilter(SimpleListFilter):
    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return list(Model.objects.values_list("id", "id"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(model_id=self.value()) if self.value() else queryset


class KeyFilter(TextFilter):
    title = "key"
    parameter_name = "key"
    placeholder = "Key id"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = (self.value() or "").strip()
        if not text:
            return queryset
        try:
            return queryset.filter(key_id=uuid.UUID(text))
        except ValueError:
            return queryset.none()


class ReceivedFilter(PeriodFilter):
    id_field = "request_id"


@admin.register(UsageRecord)
class UsageRecordAdmin(RequestLogAdmin[UsageRecord]):
    list_display = (
        "moment",
        "account",
        "model_id",
        "endpoint",
        "status",
        "tokens",
        "charge",
        "latency",
    )
    list_filter = (AccountFilter, KeyFilter, ModelFilter, "status", ReceivedFilter)
    search_fields = ("request_id",)
    search_help_text = "Request id (req_…)"
    ordering = ("-request_id",)
    paginator = InfinitePaginator
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("request_shown", "account", "key_id", "model_id", "endpoint", "is_stream", "moment")}),
        ("Outcome", {"fields": ("status", "http_status", "error_code", "error_detail", "facts", "adapted")}),
        ("Money", {"fields": ("charge", "absorbed", "held", "is_estimated", "price_version_id")}),
        (
            "Insurance",
            {"fields": ("claim", "claim_trigger", "threshold_ms", "due", "compensation", "insurance_version_id")},
        ),
        (
            "Tokens",
            {
                "fields": (
                    "input_tokens",
                    "cache_read_tokens",
                    "cache_write_5m_tokens",
                    "cache_write_1h_tokens",
                    "output_tokens",
                    "reasoning_tokens",
                    "image_input_tokens",
                    "image_output_tokens",
                    "server_tool_requests",
                )
            },
        ),
        ("Timing", {"fields": ("latency", "first_byte_ms", "queue_ms")}),
        ("Path", {"fields": ("provider", "route_id", "upstream_request_id", "session_id", "client")}),
    )
    readonly_fields = (
        "request_shown",
        "moment",
        "account",
        "charge",
        "due",
        "compensation",
        "absorbed",
        "held",
        "latency",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[UsageRecord]:
        return super().get_queryset(request).annotate(account_name=account_name_column())

    @admin.display(description="Received (UTC)")
    def moment(self, record: UsageRecord) -> str:
        return instant_text(record.received_at)

    @admin.display(description="Request")
    def request_shown(self, record: UsageRecord) -> str:
        return show_request_id(record.request_id)

    @admin.display(description="Account")
    def account(self, record: Any) -> SafeString:
        return account_link(record.account_id, record.account_name)

    @admin.display(description="Tokens in / out")
    def tokens(self, record: UsageRecord) -> str:
        prompt = (
            record.input_tokens + record.cache_read_tokens + record.cache_write_5m_tokens + record.cache_write_1h_tokens
        )
        return f"{prompt:,} / {record.output_tokens:,}"

    @admin.display(description="Charge")
    def charge(self, record: UsageRecord) -> str:
        return credits_text(record.charge_micro)

    @admin.display(description="Due")
    def due(self, record: UsageRecord) -> str:
        return credits_text(record.due_micro)

    @admin.display(description="Compensation")
    def compensation(self, record: UsageRecord) -> str:
        return credits_text(record.compensated_micro)

    @admin.display(description="Absorbed by the house")
    def absorbed(self, record: UsageRecord) -> str:
        return credits_text(record.absorbed_micro)

    @admin.display(description="Held")
    def held(self, record: UsageRecord) -> str:
        return credits_text(record.held_micro)

    @admin.display(description="Latency")
    def latency(self, record: UsageRecord) -> str:
        return f"{record.latency_ms:,} ms"
