"""The operator's pages about models, prices and policies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin, messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Now
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from apps.accounts.admin_base import OperatorAdmin, ReadOnlyAdmin, ReadOnlyInline, ServiceInline, adopt, page_action
from apps.accounts.admin_forms import (
    CreditsField,
    amount_or_none,
    credits_text,
    form_page,
    instant_field,
    lines_field,
    log_change,
    mistakes_as_errors,
    split_lines,
)
from apps.accounts.admin_types import ModelForm as BaseModelForm
from apps.accounts.mistakes import Mistake
from apps.catalog import services
from apps.catalog.catalog_file import Prices
from apps.catalog.models import InsuranceVersion, Model, Notice, Policy, PriceVersion
from apps.catalog.selectors import POLICY_FIGURES, price_in_force
from apps.core.clock import now

DECIDED = ("is_enabled", "cli_enforcement", "cli_entrypoints")
"""What operators decide; the rest are facts."""
METERS = ("input", "cache_read", "cache_write", "cache_write_1h", "output", "server_tool_request")


class PriceForm(forms.Form):
    """A new price version, in credits."""

    input = CreditsField(label="Input", help_text="Credits per million tokens; 1 credit is US$0.01.")
    cache_read = CreditsField(label="Cache read", required=False, help_text="Empty: billed as input.")
    cache_write = CreditsField(label="Cache write (5 minutes)", required=False, help_text="Empty: billed as input.")
    cache_write_1h = CreditsField(label="Cache write (1 hour)", required=False, help_text="Empty: 2 × input.")
    output = CreditsField(label="Output")
    server_tool_request = CreditsField(
        label="Server tool requests",
        required=False,
        help_text="Credits per thousand requests. Empty: the model refuses server tools.",
    )
    effective_at = instant_field("From", help_text="UTC. Empty: at once.")

    def prices(self) -> Prices:
        amounts = {meter: self.cleaned_data[meter] for meter in METERS}
        micro: dict[str, Any] = {meter: amount and amount.micro for meter, amount in amounts.items()}
        return Prices(**micro)


class ModelForm(BaseModelForm[Model]):
    """What operators decide about a model."""

    cli_entrypoints = lines_field(
        "CLI entrypoints", help_text="One per line, beside cli and sdk-cli: claude-vscode, sdk-ts, …"
    )

    class Meta:
        model = Model
        fields = ("is_enabled", "cli_enforcement")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "cli_entrypoints" in self.fields:
            self.initial["cli_entrypoints"] = "\n".join(self.instance.cli_entrypoints)

    def clean_cli_entrypoints(self) -> list[str]:
        with mistakes_as_errors():
            return services.check_entrypoints(split_lines(self.cleaned_data["cli_entrypoints"]))

    def changes(self) -> services.ModelChanges:
        """What the operator changed."""
        return cast(services.ModelChanges, {name: self.cleaned_data[name] for name in self.changed_data})


class PolicyInline(ServiceInline[Policy]):
    model = Policy
    fields = POLICY_FIGURES
    template = "admin/edit_inline/stacked.html"
    can_delete = False
    verbose_name_plural = "capacity and insurance"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class PriceColumns:
    """Prices as the pages show them: credits per million tokens."""

    @admin.display(description="Input")
    def input_text(self, price: PriceVersion) -> str:
        return credits_text(price.input)

    @admin.display(description="Cache read")
    def cache_read_text(self, price: PriceVersion) -> str:
        return credits_text(price.cache_read, empty="as input")

    @admin.display(description="Cache write (5 min)")
    def cache_write_text(self, price: PriceVersion) -> str:
        return credits_text(price.cache_write, empty="as input")

    @admin.display(description="Cache write (1 h)")
    def cache_write_1h_text(self, price: PriceVersion) -> str:
        return credits_text(price.cache_write_1h, empty="as input")

    @admin.display(description="Output")
    def output_text(self, price: PriceVersion) -> str:
        return credits_text(price.output)

    @admin.display(description="1,000 tool requests")
    def tool_text(self, price: PriceVersion) -> str:
        return credits_text(price.server_tool_request, empty="refused")


PRICE_COLUMNS = (
    "version",
    "effective_at",
    "input_text",
    "cache_read_text",
    "cache_write_text",
    "cache_write_1h_text",
    "output_text",
    "tool_text",
)


class PriceInline(PriceColumns, ReadOnlyInline[PriceVersion]):
    model = PriceVersion
    fields = readonly_fields = PRICE_COLUMNS
    ordering = ("-version",)
    verbose_name_plural = "prices (credits per million tokens)"


INSURANCE_COLUMNS = ("version", "effective_at", "threshold_ms", "percent", "ms_per_output_token")


class InsuranceInline(ReadOnlyInline[InsuranceVersion]):
    model = InsuranceVersion
    fields = readonly_fields = INSURANCE_COLUMNS
    ordering = ("-version",)
    verbose_name_plural = "what insurance promises"


@admin.register(Model)
class ModelAdmin(OperatorAdmin[Model]):
    """What is offered. Facts and prices come from the catalog file; operators decide the rest."""

    list_display = ("id", "name", "surface", "is_enabled", "cli_only", "context_text", "input_text", "output_text")
    list_filter = ("is_enabled", "surface", "cli_only")
    search_fields = ("id", "name")
    form = ModelForm
    fields: ClassVar[Any] = (
        *DECIDED,
        "id",
        "name",
        "surface",
        "cli_only",
        "context_text",
        "most_output_text",
        "dialects_text",
        "modalities_text",
        "bounds",
    )
    readonly_fields: ClassVar[Any] = fields[len(DECIDED) :]
    inlines = (PolicyInline, PriceInline, InsuranceInline)
    actions_detail = ("new_price",)

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Of a model that is open to every client, nothing is to be decided about the CLI."""
        is_open = obj is not None and not obj.cli_only
        return tuple(name for name in self.fields if not (is_open and name in DECIDED[1:]))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Model]:
        in_force = PriceVersion.objects.filter(model_id=OuterRef("id"), effective_at__lte=Now()).order_by(
            "-effective_at", "-version"
        )
        return (
            super()
            .get_queryset(request)
            .annotate(
                input_price=Subquery(in_force.values("input")[:1]), output_price=Subquery(in_force.values("output")[:1])
            )
        )

    @admin.display(description="Input per million", ordering="input_price")
    def input_text(self, model: Any) -> str:
        return credits_text(model.input_price, empty="-")

    @admin.display(description="Output per million", ordering="output_price")
    def output_text(self, model: Any) -> str:
        return credits_text(model.output_price, empty="-")

    @admin.display(description="Context tokens", ordering="context_tokens")
    def context_text(self, model: Model) -> str:
        return f"{model.context_tokens:,}"

    @admin.display(description="Most output tokens")
    def most_output_text(self, model: Model) -> str:
        return "-" if model.max_output_tokens is None else f"{model.max_output_tokens:,}"

    @admin.display(description="Upstream dialects")
    def dialects_text(self, model: Model) -> str:
        return ", ".join(model.dialects)

    @admin.display(description="Modalities")
    def modalities_text(self, model: Model) -> str:
        return f"{', '.join(model.input_modalities)} in; {', '.join(model.output_modalities)} out"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:
        saved = services.set_model(model_id=obj.id, actor=request.user.get_username(), **form.changes())
        adopt(obj, saved)

    def save_formset(
        self, request: HttpRequest, form: Any, formset: BaseInlineFormSet[Any, Any, Any], change: bool
    ) -> None:
        formset.save(commit=False)
        for policy_form in formset.initial_forms if formset.model is Policy else []:
            figures = {name: policy_form.cleaned_data[name] for name in policy_form.changed_data}
            if figures:
                services.set_policy(
                    model_id=form.instance.id,
                    actor=request.user.get_username(),
                    **cast(services.PolicyFigures, figures),
                )

    @page_action(title="New price", icon="sell", permission="catalog.add_priceversion")
    def new_price(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Price a model anew, from now or an instant to come on."""
        model = Model.objects.get(pk=object_id)
        current = price_in_force(model.id, at=now())
        initial = {} if current is None else {meter: amount_or_none(getattr(current, meter)) for meter in METERS}
        form = PriceForm(request.POST or None, initial=initial)
        if form.is_valid():
            try:
                price = services.add_price(
                    model_id=model.id,
                    prices=replace(form.prices(), modifiers=current.modifiers if current is not None else {}),
                    effective_at=form.cleaned_data["effective_at"],
                    actor=request.user.get_username(),
                )
            except Mistake as mistake:
                form.add_error(None, str(mistake))
            else:
                log_change(request, model, f"Price version {price.version} added.")
                messages.success(request, f"Version {price.version} of the prices of {model.id} is in place.")
                return HttpResponseRedirect(reverse("admin:catalog_model_change", args=[model.id]))
        return form_page(self, request, row=model, form=form, title=f"New price of {model.id}", submit="Add version")


@admin.register(PriceVersion)
class PriceVersionAdmin(PriceColumns, ReadOnlyAdmin[PriceVersion]):
    """Every price there ever was; a bill names its version."""

    list_display = ("model", *PRICE_COLUMNS)
    list_filter = ("model",)
    fields = ("model", *PRICE_COLUMNS)
    ordering = ("model_id", "-version")


@admin.register(InsuranceVersion)
class InsuranceVersionAdmin(ReadOnlyAdmin[InsuranceVersion]):
    """All that insurance ever promised; an insured call names its version."""

    list_display = ("model", *INSURANCE_COLUMNS)
    list_filter = ("model",)
    fields = ("model", *INSURANCE_COLUMNS)
    ordering = ("model_id", "-version")


@admin.register(Notice)
class NoticeAdmin(ReadOnlyAdmin[Notice]):
    """What callers said that nobody knew yet: does it want a price or a bound?"""

    list_display = ("name", "kind", "dialect", "model_id", "first_seen_at")
    list_filter = ("kind", "dialect")
    search_fields = ("name",)
