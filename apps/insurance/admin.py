"""The operator's pages of insurance: claims, never changed, and what they cost the house."""

from __future__ import annotations

from datetime import UTC
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString

from apps.accounts.admin_base import (
    AccountFilter,
    InfinitePaginator,
    RequestLogAdmin,
    account_link,
    account_name_column,
    instant_text,
    page_action,
)
from apps.accounts.admin_forms import credits_text, text_field
from apps.accounts.mistakes import Mistake
from apps.catalog.models import InsuranceVersion
from apps.core import clock
from apps.core.ids import show_request_id
from apps.insurance.models import Claim
from apps.insurance.selectors import costs, total
from apps.ledger import statements
from apps.usage.admin import ModelFilter, ReceivedFilter


class MonthForm(forms.Form):
    month = text_field("Month (UTC)", help_text="Like 2026-11.", max_length=7)

    def clean_month(self) -> statements.Period:
        try:
            return statements.month(self.cleaned_data["month"])
        except Mistake as mistake:
            raise ValidationError(str(mistake)) from None


@admin.register(Claim)
class ClaimAdmin(RequestLogAdmin[Claim]):
    list_display = ("moment", "account", "model_id", "claim", "latency", "threshold", "charge", "payout", "is_stream")
    list_filter = (AccountFilter, ModelFilter, "claim", ReceivedFilter)
    search_fields = ("request_id",)
    search_help_text = "Request id (req_…)"
    ordering = ("-request_id",)
    paginator = InfinitePaginator
    actions_list = ("cost_report",)
    fields: ClassVar[Any] = (
        "request_shown",
        "moment",
        "account",
        "model_id",
        "is_stream",
        "claim",
        "claim_trigger",
        "latency",
        "threshold",
        "policy",
        "output_tokens",
        "charge",
        "due",
        "payout",
    )
    readonly_fields: ClassVar[Any] = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Claim]:
        return super().get_queryset(request).filter(due_micro__gt=0).annotate(account_name=account_name_column())

    @page_action(title="Cost per model", icon="bar_chart", permission="insurance.view_claim")
    def cost_report(self, request: HttpRequest) -> HttpResponse:
        """What insurance cost in this month, or another."""
        current = f"{clock.now().astimezone(UTC):%Y-%m}"
        form = MonthForm(request.GET if "month" in request.GET else None, initial={"month": current})
        period = form.cleaned_data["month"] if form.is_valid() else statements.month(current)
        found = costs(period)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media + form.media,
            "title": f"What insurance cost: {period.starts_at:%B %Y}",
            "form": form,
            "costs": [*found, total(found)] if found else [],
            "back_url": "../",
        }
        return TemplateResponse(request, "admin/insurance_report.html", context)

    @admin.display(description="Received (UTC)")
    def moment(self, claim: Claim) -> str:
        return instant_text(claim.received_at)

    @admin.display(description="Request")
    def request_shown(self, claim: Claim) -> str:
        return show_request_id(claim.request_id)

    @admin.display(description="Account")
    def account(self, claim: Any) -> SafeString:
        return account_link(claim.account_id, claim.account_name)

    @admin.display(description="Latency")
    def latency(self, claim: Claim) -> str:
        return f"{claim.latency_ms:,} ms"

    @admin.display(description="Threshold")
    def threshold(self, claim: Claim) -> str:
        return "-" if claim.threshold_ms is None else f"{claim.threshold_ms:,} ms"

    @admin.display(description="Policy")
    def policy(self, claim: Claim) -> str:
        version_id = claim.insurance_version_id
        version = None if version_id is None else InsuranceVersion.objects.filter(id=version_id).first()
        if version is None:
            return "-"
        per_token = f" + {version.ms_per_output_token} ms a token" if claim.is_stream else ""
        return f"version {version.version}: {version.percent} % beyond {version.threshold_ms:,} ms{per_token}"

    @admin.display(description="Charge")
    def charge(self, claim: Claim) -> str:
        return credits_text(claim.charge_micro)

    @admin.display(description="Due")
    def due(self, claim: Claim) -> str:
        return credits_text(claim.due_micro)

    @admin.display(description="Paid")
    def payout(self, claim: Claim) -> str:
        return credits_text(claim.compensated_micro)
