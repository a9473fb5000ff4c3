"""The operator's pages about an account's money: what it has, and forms that move it."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from apps.accounts.admin import AccountAdmin
from apps.accounts.admin_base import page_action
from apps.accounts.admin_forms import CreditsField, credits_text, form_page, instant_field, log_change, text_field
from apps.accounts.mistakes import Mistake
from apps.accounts.models import Account
from apps.core.ids import new_id, parse_request_id
from apps.ledger import services
from apps.ledger.admin_statement import statement_page
from apps.ledger.models import Balance
from apps.ledger.selectors import balance_of


class TopUpForm(forms.Form):
    amount = CreditsField(label="Credits", help_text="1 credit is US$0.01.")
    reference = text_field(
        "Reference", help_text="What the money came with: an invoice, a payment. The same reference adds it once."
    )


class GrantForm(forms.Form):
    amount = CreditsField(label="Credits", help_text="Nobody pays for them; they are used before paid ones.")
    expires_at = instant_field("Expires (UTC)", help_text="When what is left of them is gone. Empty: never.")
    priority = forms.IntegerField(
        label="Priority",
        initial=0,
        min_value=0,
        max_value=services.MAX_PRIORITY,
        help_text="Grants with a lower one are used first.",
        widget=text_field("Priority").widget,
    )
    reference = text_field("Reference", help_text="What they are given for. The same reference gives them once.")


class RefundForm(forms.Form):
    request_id = text_field("Request", help_text="The call, as its reply's x-request-id names it.")
    amount = CreditsField(label="Credits", required=False, help_text="Empty: all that is left of its charge.")
    reason = text_field("Reason", required=False, help_text="Kept with the entry for good.", max_length=300)
    reference = text_field("Reference", help_text="The same reference refunds once.")

    def clean_request_id(self) -> uuid.UUID:
        try:
            return parse_request_id(self.cleaned_data["request_id"].strip())
        except ValueError:
            raise ValidationError("This is not a request id.") from None


class ClawBackForm(forms.Form):
    amount = CreditsField(
        label="Credits",
        help_text="Of the payment that was reversed. What is not there any more is owed, and freezes the account.",
    )
    reason = text_field("Reason", required=False, help_text="Kept with the entry for good.", max_length=300)
    reference = text_field("Reference", help_text="The reversal. The same reference takes back once.")


class CorrectionForm(forms.Form):
    amount = CreditsField(label="Credits", help_text="A negative amount takes from the account.")
    reason = text_field("Reason", help_text="Kept with the entry for good.", max_length=300)
    reference = text_field("Reference", help_text="The same reference corrects once.")


@admin.register(Account)
class AccountMoneyAdmin(AccountAdmin):
    list_display = ("name", "status", "balance_text", "held_text", "available_text", "rpm_limit", "created_at")
    actions_detail = (
        "top_up",
        {"title": "Move money", "icon": "currency_exchange", "items": ["grant", "refund", "claw_back", "correct"]},
        "statement",
        "see_entries",
        "see_usage",
        "see_keys",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        balance = Balance.objects.filter(account_id=OuterRef("id"))
        return (
            super()
            .get_queryset(request)
            .annotate(
                balance_micro=Subquery(balance.values("balance_micro")[:1]),
                held_micro=Subquery(balance.values("held_micro")[:1]),
                owed_micro=Subquery(balance.values("owed_micro")[:1]),
            )
        )

    def get_fields(self, request: HttpRequest, obj: Account | None = None) -> Any:
        return self.fields if obj is None else (*self._money(obj), *self.fields)

    def get_readonly_fields(self, request: HttpRequest, obj: Account | None = None) -> Any:
        return () if obj is None else self._money(obj)

    def _money(self, account: Any) -> tuple[str, ...]:
        has_debts = bool(getattr(account, "owed_micro", 0))
        return ("balance_text", "held_text", "available_text", *(("owed_text",) if has_debts else ()))

    def open_account(self, account: Account) -> None:
        services.open_account(account_id=account.id)

    @admin.display(description="Balance", ordering="balance_micro")
    def balance_text(self, account: Any) -> str:
        return credits_text(account.balance_micro or 0)

    @admin.display(description="Held", ordering="held_micro")
    def held_text(self, account: Any) -> str:
        return credits_text(account.held_micro or 0)

    @admin.display(description="Available")
    def available_text(self, account: Any) -> str:
        return credits_text((account.balance_micro or 0) - (account.held_micro or 0))

    @admin.display(description="Owed")
    def owed_text(self, account: Any) -> str:
        return credits_text(account.owed_micro or 0)

    @page_action(title="Top up", icon="add_card", permission="ledger.add_entry")
    def top_up(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Add paid credits, once per reference."""
        return self._move(request, object_id, TopUpForm, title="Top up", service=services.top_up)

    @page_action(title="Grant", icon="redeem", permission="ledger.add_entry")
    def grant(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Give credits that nobody paid for."""
        return self._move(request, object_id, GrantForm, title="Grant", service=services.grant)

    @page_action(title="Refund", icon="undo", permission="ledger.add_entry")
    def refund(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Give a call's charge back, or a part of it."""
        return self._move(request, object_id, RefundForm, title="Refund", service=services.refund)

    @page_action(title="Claw back", icon="money_off", permission="ledger.add_entry")
    def claw_back(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Take back the credits of a payment that was reversed."""
        return self._move(request, object_id, ClawBackForm, title="Claw back", service=services.claw_back)

    @page_action(title="Correct", icon="balance", permission="ledger.add_entry")
    def correct(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Repair a mistake with an entry of its own that names its reason."""
        return self._move(request, object_id, CorrectionForm, title="Correct", service=services.correct)

    @page_action(title="Statement", icon="description", permission="ledger.view_entry")
    def statement(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the account began a month with, what moved, and what it ended with."""
        return statement_page(self, request, Account.objects.get(pk=object_id))

    @page_action(title="Entries", icon="receipt_long", permission="ledger.view_entry")
    def see_entries(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The account's entries."""
        return _list_of(object_id, "ledger_entry")

    @page_action(title="Usage", icon="monitoring", permission="usage.view_usagerecord")
    def see_usage(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The account's usage."""
        return _list_of(object_id, "usage_usagerecord")

    @page_action(title="Keys", icon="key", permission="keys.view_apikey")
    def see_keys(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The account's keys."""
        return _list_of(object_id, "keys_apikey")

    def _move(
        self, request: HttpRequest, object_id: str, form_class: type[forms.Form], *, title: str, service: Any
    ) -> HttpResponse:
        """One form that calls one service. The reference that it comes with makes a page sent twice move once."""
        account = Account.objects.get(pk=object_id)
        form = form_class(request.POST or None, initial={"reference": f"manual {new_id().hex[:16]}"})
        if not form.is_valid():
            return self._money_page(request, account, form, title=title)
        try:
            movement = service(account_id=account.id, actor=request.user.get_username(), **form.cleaned_data)
        except Mistake as refused:
            form.add_error(None, str(refused))
            return self._money_page(request, account, form, title=title)
        balances = f"{credits_text(movement.balance_before.micro)} → {credits_text(movement.balance_after.micro)}"
        if movement.repeated:
            messages.warning(request, f"That reference was booked before ({balances}): nothing moved again.")
        else:
            log_change(request, account, f"{title}: {movement.amount} credits.")
            messages.success(request, f"Balance of {account.name}: {balances}.")
        if movement.owed:
            owed = credits_text(movement.owed.micro)
            messages.error(request, f"{account.name} owes {owed} and is frozen until you unfreeze it.")
        return HttpResponseRedirect(reverse("admin:accounts_account_change", args=[account.pk]))

    def _money_page(self, request: HttpRequest, account: Account, form: forms.Form, *, title: str) -> HttpResponse:
        facts = balance_of(account.id)
        shown = {
            "Balance": credits_text(facts.balance.micro),
            "Held by open calls": credits_text(facts.held.micro),
            "Available": credits_text(facts.available.micro),
        }
        if facts.owed:
            shown["Owed"] = credits_text(facts.owed.micro)
        return form_page(
            self, request, row=account, form=form, title=f"{title}: {account.name}", submit=title, facts=shown
        )


def _list_of(account_id: str, page: str) -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse(f"admin:{page}_changelist", query={"account": account_id}))
