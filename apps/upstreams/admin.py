"""The operator's pages about routes. A credential goes in and never comes out."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from apps.accounts.admin_base import OperatorAdmin, adopt
from apps.accounts.admin_forms import mistakes_as_errors, secret_field, split_lines, switch_field, text_field
from apps.accounts.admin_types import ModelForm
from apps.catalog.catalog_file import DIALECTS
from apps.upstreams import services
from apps.upstreams.credential_files import check_file
from apps.upstreams.models import Route

FIELDS = (
    "provider",
    "dialects",
    "base_url",
    "upstream_model",
    "weight",
    "priority",
    "is_enabled",
    "exposes_model",
    "keeps_state",
    *services.TIMEOUTS,
)

NAMES = ("credential_env", "credential_file")


class RouteForm(ModelForm[Route]):
    dialects = text_field("Dialects", help_text=f"In order of preference, with commas between: {', '.join(DIALECTS)}.")
    base_url = text_field("Base URL", help_text=str(Route._meta.get_field("base_url").help_text), max_length=300)
    credential = secret_field(
        "Credential", help_text="Sealed before it is stored, and never shown. Empty: what is stored stays."
    )
    forgets_credential = switch_field("Remove the stored credential")

    class Meta:
        model = Route
        fields = ("model", "provider", "upstream_model", *NAMES, "weight", "priority", "is_enabled",
                  "exposes_model", "keeps_state", *services.TIMEOUTS)  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.dialects:
            self.initial["dialects"] = ", ".join(self.instance.dialects)
        self.initial["base_url"] = self.instance.base_url

    def clean_dialects(self) -> list[str]:
        with mistakes_as_errors():
            return services.check_dialects(split_lines(self.cleaned_data["dialects"]))

    def clean_base_url(self) -> str:
        with mistakes_as_errors():
            return services.check_base_url(self.cleaned_data["base_url"])

    def clean_credential_env(self) -> str:
        with mistakes_as_errors():
            return services.check_variable(self.cleaned_data["credential_env"])

    def clean_credential_file(self) -> str:
        with mistakes_as_errors():
            return check_file(self.cleaned_data["credential_file"])

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        named = [name for name in NAMES if name in self.changed_data and cleaned.get(name)]
        if len(named) + bool(cleaned.get("credential")) > 1:
            raise ValidationError("Give a credential, or the name of its variable, or of its file: not two of them.")
        return cleaned

    def changes(self) -> services.RouteChanges:
        """What the operator changed, or, of a new route, everything."""
        is_new = self.instance._state.adding
        chosen = {name: self.cleaned_data[name] for name in FIELDS if is_new or name in self.changed_data}
        if self.cleaned_data["credential"]:
            chosen["credential"] = self.cleaned_data["credential"]
        elif named := [name for name in NAMES if name in self.changed_data]:
            # What was filled in replaces what was there; where nothing was, what was emptied goes.
            filled = [name for name in named if self.cleaned_data[name]]
            chosen |= {name: self.cleaned_data[name] for name in filled or named}
        elif self.cleaned_data["forgets_credential"]:
            chosen["credential"] = ""
        return cast(services.RouteChanges, chosen)


@admin.register(Route)
class RouteAdmin(OperatorAdmin[Route]):
    form = RouteForm
    list_display = (
        "model",
        "provider",
        "base_url",
        "upstream_model",
        "priority",
        "weight",
        "is_enabled",
        "has_credential",
    )
    list_filter = ("is_enabled", "provider", "model")
    search_fields = ("model__id", "provider", "upstream_model")
    autocomplete_fields = ("model",)
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("model", "provider", "base_url", "dialects", "upstream_model")}),
        ("Use", {"fields": ("is_enabled", "exposes_model", "keeps_state")}),
        ("Credential", {"fields": ("stored_credential", "credential", "forgets_credential", *NAMES)}),
        ("Choice between routes", {"fields": ("priority", "weight")}),
        ("Deadlines", {"fields": services.TIMEOUTS}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Route | None = None) -> Any:
        return ("stored_credential",) if obj is None else ("stored_credential", "model")

    @admin.display(description="Credential", boolean=True)
    def has_credential(self, route: Route) -> bool:
        return bool(route.credential_sealed or route.credential_env or route.credential_file)

    @admin.display(description="In use")
    def stored_credential(self, route: Route) -> str:
        if route.credential_sealed:
            return "stored here, sealed"
        if route.credential_file:
            return f"read from {route.credential_file}, again when it changes"
        return f"read from ${route.credential_env}" if route.credential_env else "none"

    def save_model(self, request: HttpRequest, obj: Route, form: RouteForm, change: bool) -> None:
        actor, changes = request.user.get_username(), form.changes()
        if change:
            adopt(obj, services.set_route(route_id=obj.id, actor=actor, **changes))
        else:
            required = {"model_id": obj.model_id, "actor": actor}
            adopt(obj, services.add_route(**cast(Any, {**required, **changes})))

    def has_delete_permission(self, request: HttpRequest, obj: Route | None = None) -> bool:
        return request.user.has_perm("upstreams.delete_route")

    def delete_model(self, request: HttpRequest, obj: Route) -> None:
        services.remove_route(route_id=obj.id, actor=request.user.get_username())
