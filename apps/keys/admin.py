"""The operator's pages about API keys: issued once on a page of its own, limited in credits, stopped with a reason."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from apps.accounts.admin_base import AccountFilter, OperatorAdmin, ServiceInline, adopt, instant_text, page_action
from apps.accounts.admin_forms import (
    CreditsField,
    ReasonForm,
    amount_or_none,
    choice_field,
    choices_field,
    credits_text,
    form_page,
    lines_field,
    log_change,
    mistakes_as_errors,
    split_lines,
)
from apps.accounts.admin_types import ModelForm
from apps.accounts.mistakes import Mistake
from apps.accounts.services import check_budget
from apps.catalog.models import Model
from apps.keys import (
    admin_violations,  # noqa: F401  # registers its page
    services,
)
from apps.keys.models import ApiKey, ModelLimit

AMOUNTS = ("limit", "daily_budget", "hourly_budget")
SETTINGS = ("name", "allowed_models", "allowed_networks", *AMOUNTS, "rpm_limit", "expires_at")
ISSUED = "issued_key"
"""The attribute of the request that carries a fresh key from `save_model` to the page that shows it."""


def _model_choices() -> list[tuple[str, str]]:
    return list(Model.objects.values_list("id", "id"))


class KeyForm(ModelForm[ApiKey]):
    allowed_models = choices_field("Models", help_text="The only ones it may call. Empty: all.")
    allowed_networks = lines_field(
        "Networks", help_text="The only ones it may call from, one address or CIDR per line. Empty: all."
    )
    limit = CreditsField(label="Lifetime limit", required=False, help_text="Credits. Empty: no limit.")
    daily_budget = CreditsField(label="Daily budget", required=False, help_text="Credits per day (UTC).")
    hourly_budget = CreditsField(label="Hourly budget", required=False, help_text="Credits per hour.")

    class Meta:
        model = ApiKey
        fields = ("account", "name", "rpm_limit", "expires_at")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        key = self.instance
        if "allowed_models" not in self.fields:  # the page of somebody who may only look
            return
        known = _model_choices()
        gone = [(name, f"{name} (gone)") for name in key.allowed_models if (name, name) not in known]
        cast(forms.MultipleChoiceField, self.fields["allowed_models"]).choices = [*known, *gone]
        stored = {
            "allowed_models": key.allowed_models,
            "allowed_networks": "\n".join(key.allowed_networks),
            "limit": amount_or_none(key.limit_micro),
            "daily_budget": amount_or_none(key.daily_budget_micro),
            "hourly_budget": amount_or_none(key.hourly_budget_micro),
        }
        self.initial = {**self.initial, **stored}

    def clean_allowed_networks(self) -> list[str]:
        with mistakes_as_errors():
            return services.check_networks(split_lines(self.cleaned_data["allowed_networks"]))

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        if "expires_at" in self.changed_data:
            with mistakes_as_errors():
                services.check_expiry(expires_at)
        return expires_at

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name in AMOUNTS:
            try:
                check_budget(cleaned.get(name), "an amount")
            except Mistake as mistake:
                self.add_error(name, str(mistake))
        return cleaned

    def changes(self) -> services.KeyChanges:
        """What the operator changed."""
        chosen = {name: self.cleaned_data[name] for name in SETTINGS if name in self.changed_data}
        return cast(services.KeyChanges, chosen)


class ModelLimitForm(ModelForm[ModelLimit]):
    model_id = choice_field("Model", [])
    limit = CreditsField(label="Lifetime limit", required=False)

    class Meta:
        model = ModelLimit
        fields = ("model_id", "rpm_limit")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "model_id" in self.fields:
            cast(forms.ChoiceField, self.fields["model_id"]).choices = [("", "Select model"), *_model_choices()]
        self.initial.setdefault("limit", amount_or_none(self.instance.limit_micro))

    def cap(self) -> services.ModelCap:
        return services.ModelCap(limit=self.cleaned_data["limit"], rpm=self.cleaned_data["rpm_limit"])

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("limit") is None and cleaned.get("rpm_limit") is None and not self.errors:
            self.add_error("limit", "Give a limit, or requests per minute.")
        return cleaned


class ModelLimitInline(ServiceInline[ModelLimit]):
    model = ModelLimit
    form = ModelLimitForm
    fields = ("model_id", "limit", "rpm_limit")
    verbose_name_plural = "limits per model"


@admin.register(ApiKey)
class ApiKeyAdmin(OperatorAdmin[ApiKey]):
    form = KeyForm
    list_display = ("name", "ending", "account", "status", "daily_text", "expires_at", "created_at")
    list_filter = (AccountFilter, "status")
    list_select_related = ("account",)
    search_fields = ("name", "last4__exact", "id__exact", "account__name")
    search_help_text = "Name, last four characters, account"
    autocomplete_fields = ("account",)
    ordering = ("-created_at",)
    inlines = (ModelLimitInline,)
    actions_detail = ("suspend", "reinstate")

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return ("account", *SETTINGS) if obj is None else ("account", "key_id", "ending", "state", *SETTINGS)

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return () if obj is None else ("account", "key_id", "ending", "state")

    @admin.display(description="Key")
    def ending(self, key: ApiKey) -> str:
        return f"ck_…{key.last4}"

    @admin.display(description="Key id")
    def key_id(self, key: ApiKey) -> str:
        return str(key.id)

    @admin.display(description="Daily budget", ordering="daily_budget_micro")
    def daily_text(self, key: ApiKey) -> str:
        return credits_text(key.daily_budget_micro, empty="no budget")

    @admin.display(description="Status")
    def state(self, key: ApiKey) -> str:
        if key.suspended_at is None:
            return key.status
        return f"suspended on {instant_text(key.suspended_at)} UTC: {key.suspended_reason}"

    def save_model(self, request: HttpRequest, obj: ApiKey, form: KeyForm, change: bool) -> None:
        actor, changes = request.user.get_username(), form.changes()
        if change:
            adopt(obj, services.set_key(key_id=obj.id, actor=actor, **changes))
        else:
            issued = services.issue_key(account_id=obj.account_id, actor=actor, **changes)
            adopt(obj, issued.row)
            setattr(request, ISSUED, issued.key)

    def save_formset(
        self, request: HttpRequest, form: Any, formset: BaseInlineFormSet[Any, Any, Any], change: bool
    ) -> None:
        formset.save(commit=False)
        caps: dict[str, services.ModelCap | None] = {}
        for row in formset.forms:
            was = row.initial.get("model_id")
            is_gone = row in formset.deleted_forms
            if was and (is_gone or was != row.cleaned_data.get("model_id")):
                caps.setdefault(was, None)
            if not is_gone and row.has_changed():
                caps[row.cleaned_data["model_id"]] = row.cap()
        if caps:
            services.set_key(key_id=form.instance.id, actor=request.user.get_username(), model_caps=caps)

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """Show the key, this once, in the answer itself: no redirect carries it, nothing stores it."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Key issued",
            "key": getattr(request, ISSUED),
            "row": obj,
            "row_url": reverse("admin:keys_apikey_change", args=[obj.pk]),
            "list_url": reverse("admin:keys_apikey_changelist"),
        }
        return TemplateResponse(request, "admin/key_issued.html", context)

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """Offer what the key is not yet."""
        actions: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]  # Unfold's
        key = ApiKey.objects.filter(pk=object_id).first()
        unfit = "reinstate" if key is None or key.status == ApiKey.Status.ACTIVE else "suspend"
        return [action for action in actions if not action.action_name.endswith(unfit)]

    @page_action(title="Suspend", icon="block", permission="keys.change_apikey")
    def suspend(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Stop a key, with a reason."""
        return self._decide(request, object_id, verb="Suspend", service=services.suspend_key)

    @page_action(title="Reinstate", icon="lock_open", permission="keys.change_apikey")
    def reinstate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let a suspended key call again, with a reason."""
        return self._decide(request, object_id, verb="Reinstate", service=services.reinstate_key)

    def _decide(self, request: HttpRequest, object_id: str, *, verb: str, service: Any) -> HttpResponse:
        key = ApiKey.objects.select_related("account").get(pk=object_id)
        form = ReasonForm(request.POST or None)
        if form.is_valid():
            try:
                changed = service(key_id=key.id, why=form.cleaned_data["why"], actor=request.user.get_username())
            except Mistake as mistake:
                form.add_error(None, str(mistake))
            else:
                log_change(request, key, f"{verb}: {form.cleaned_data['why']}")
                messages.success(request, f"{changed} is {changed.status}.")
                return HttpResponseRedirect(reverse("admin:keys_apikey_change", args=[key.pk]))
        return form_page(
            self,
            request,
            row=key,
            form=form,
            title=f"{verb} {key.name}",
            submit=verb,
            facts={"Key": str(key), "Account": key.account.name, "Status": self.state(key)},
            is_dangerous=verb == "Suspend",
        )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return super().get_queryset(request).select_related("account")
