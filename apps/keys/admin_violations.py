"""The operator's page of calls to CLI-only models that were not the CLI's: what failed, what followed, the undoing."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from apps.accounts.admin_base import (
    AccountFilter,
    InfinitePaginator,
    PeriodFilter,
    ReadOnlyAdmin,
    instant_text,
    page_action,
)
from apps.accounts.admin_forms import ReasonForm, form_page, log_change
from apps.accounts.mistakes import Mistake
from apps.core.ids import show_request_id
from apps.keys.cli.violations import lift_violation
from apps.keys.models import CliViolation


class LiftedFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return (("standing", "Standing"), ("lifted", "Lifted"))

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() is None:
            return queryset
        return queryset.filter(lifted_at__isnull=self.value() == "standing")


@admin.register(CliViolation)
class CliViolationAdmin(ReadOnlyAdmin[CliViolation]):
    list_display = ("moment", "account", "key", "model_id", "verdict", "consequence", "strike", "words", "state")
    list_select_related = ("account", "key")
    list_filter = (AccountFilter, "verdict", "consequence", LiftedFilter, PeriodFilter)
    search_fields = ("id__exact", "key__id__exact", "key__last4__exact", "model_id__exact")
    search_help_text = "Violation, key (id or last four characters), model"
    ordering = ("-id",)
    paginator = InfinitePaginator
    fields = (
        "created_at",
        "account",
        "key",
        "model_id",
        "request_name",
        "verdict",
        "words",
        "signs",
        "consequence",
        "strike",
        "evidence",
        "state",
    )
    readonly_fields = ("request_name", "state")
    actions_detail = ("lift",)

    @admin.display(description="When (UTC)")
    def moment(self, violation: CliViolation) -> str:
        return instant_text(violation.created_at)

    @admin.display(description="Request")
    def request_name(self, violation: CliViolation) -> str:
        return show_request_id(violation.request_id)

    @admin.display(description="State")
    def state(self, violation: CliViolation) -> str:
        if violation.lifted_at is None:
            return "standing"
        when = instant_text(violation.lifted_at)
        return f"lifted by {violation.lifted_by} on {when} UTC: {violation.lifted_reason}"

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """What is lifted is not lifted again."""
        actions: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]  # Unfold's
        is_standing = CliViolation.objects.filter(pk=object_id, lifted_at=None).exists()
        return actions if is_standing else []

    @page_action(title="Lift", icon="lock_open", permission="keys.change_cliviolation")
    def lift(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Take the violation back, with a reason: its strike, and the suspension that came of it."""
        violation = CliViolation.objects.select_related("key", "account").get(pk=object_id)
        form = ReasonForm(request.POST or None)
        if form.is_valid():
            why = form.cleaned_data["why"]
            try:
                lift_violation(violation_id=violation.id, why=why, actor=request.user.get_username())
            except Mistake as mistake:
                form.add_error(None, str(mistake))
            else:
                violation.key.refresh_from_db()
                log_change(request, violation, f"Lift: {why}")
                messages.success(request, f"The violation is lifted. {violation.key} is {violation.key.status}.")
                return HttpResponseRedirect(reverse("admin:keys_cliviolation_change", args=[violation.pk]))
        facts = {
            "Key": str(violation.key),
            "Account": violation.account.name,
            "What failed": violation.words,
            "Consequence": violation.get_consequence_display(),
        }
        return form_page(self, request, row=violation, form=form, title="Lift a violation", submit="Lift", facts=facts)
