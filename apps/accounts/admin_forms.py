"""Form parts of the operator's pages: exact amounts, and services' mistakes beside the field they are about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from django import forms
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import HttpRequest
from django.template.response import TemplateResponse
from unfold.widgets import (
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelect2MultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from apps.accounts.mistakes import Mistake
from apps.core.money import Credits, InvalidAmount

AMOUNT_LENGTH = 25


def credits_text(micro: int | None, *, empty: str = "no limit") -> str:
    """`12.5 credits`, thousands apart, as every page shows an amount."""
    if micro is None:
        return empty
    whole, dot, decimals = str(Credits(micro)).partition(".")
    amount = f"{int(whole):,}" if whole not in ("-0", "0") else whole
    return f"{amount}{dot}{decimals} {'credit' if amount + dot == '1' else 'credits'}"


@contextmanager
def mistakes_as_errors() -> Iterator[None]:
    """Show what a service refuses beside the field."""
    try:
        yield
    except (Mistake, InvalidAmount) as mistake:
        raise ValidationError(str(mistake)) from mistake


class CreditsField(forms.CharField):
    """An amount of credits as people write it; `Credits`, or None where it is left empty."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("widget", UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}))
        super().__init__(max_length=AMOUNT_LENGTH, **options)

    def to_python(self, value: Any) -> Any:
        text = str(super().to_python(value) or "").replace(",", "").strip()
        if not text:
            return None
        with mistakes_as_errors():
            return Credits.parse(text)

    def validate(self, value: Any) -> None:
        if self.required and value is None:
            raise ValidationError(self.error_messages["required"], code="required")

    def run_validators(self, value: Any) -> None:
        """The length of the text was checked by its widget; the value is no text any more."""

    def prepare_value(self, value: Any) -> Any:
        return str(value) if isinstance(value, Credits) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.to_python(self.prepare_value(initial)) != self.to_python(data))
        except ValidationError:
            return True


def amount_or_none(micro: int | None) -> Credits | None:
    """What a CreditsField shows of a column."""
    return None if micro is None else Credits(micro)


def text_field(label: str, *, help_text: str = "", required: bool = True, max_length: int = 200) -> forms.CharField:
    return forms.CharField(
        label=label, help_text=help_text, required=required, max_length=max_length, widget=UnfoldAdminTextInputWidget()
    )


def lines_field(label: str, *, help_text: str = "") -> forms.CharField:
    """Several lines; `split_lines` reads them."""
    return forms.CharField(
        label=label, help_text=help_text, required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3})
    )


def split_lines(text: str) -> list[str]:
    return [line.strip() for line in text.replace(",", "\n").splitlines() if line.strip()]


def secret_field(label: str, *, help_text: str = "") -> forms.CharField:
    """Write-only: never filled in from what is stored."""
    widget = UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}, render_value=False)
    return forms.CharField(label=label, help_text=help_text, required=False, strip=True, widget=widget)


def switch_field(label: str, *, help_text: str = "") -> forms.BooleanField:
    return forms.BooleanField(label=label, help_text=help_text, required=False, widget=UnfoldBooleanSwitchWidget())


def choice_field(label: str, choices: Sequence[tuple[str, str]]) -> forms.ChoiceField:
    return forms.ChoiceField(label=label, choices=choices, widget=UnfoldAdminSelectWidget())


def choices_field(label: str, *, help_text: str = "") -> forms.MultipleChoiceField:
    """Several of a list that the form fills in when it is made."""
    return forms.MultipleChoiceField(
        label=label, help_text=help_text, required=False, widget=UnfoldAdminSelect2MultipleWidget()
    )


def instant_field(label: str, *, help_text: str = "") -> forms.SplitDateTimeField:
    return forms.SplitDateTimeField(
        label=label, help_text=help_text, required=False, widget=UnfoldAdminSplitDateTimeWidget()
    )


class ReasonForm(forms.Form):
    """Why an operator does it; kept in the audit log."""

    why = text_field("Reason", help_text="Kept in the audit log.")


def form_page(
    model_admin: Any,
    request: HttpRequest,
    *,
    row: Model,
    form: forms.Form,
    title: str,
    submit: str,
    facts: Mapping[str, str] | None = None,
    is_dangerous: bool = False,
) -> TemplateResponse:
    """A page with one form about one row, in the admin's frame; `facts` are shown above it."""
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "media": model_admin.media + form.media,
        "row": row,
        "form": form,
        "title": title,
        "submit_title": submit,
        "facts": facts or {},
        "is_dangerous": is_dangerous,
        "back_url": "../change/",
    }
    return TemplateResponse(request, "admin/form_page.html", context)


def log_change(request: HttpRequest, row: Model, message: str) -> None:
    """Let the page's own history show what a form page did."""
    assert request.user.pk is not None
    LogEntry.objects.log_actions(request.user.pk, [row], CHANGE, change_message=message, single_object=True)
