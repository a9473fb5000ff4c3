"""The operator's pages about money: accounts with their balance, forms that move it, a log that cannot be changed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.safestring import SafeString

from apps.accounts.admin import AccountAdmin
from apps.accounts.admin_base import (
    AccountFilter,
    InfinitePaginator,
    PeriodFilter,
    ReadOnlyAdmin,
    account_link,
    account_name_column,
    instant_text,
    page_action,
)
from apps.accounts.admin_forms import CreditsField, credits_text, form_page, log_change, text_field
from apps.accounts.models import Account
from apps.core.ids import new_id, show_request_id
from apps.ledger import services
from apps.ledger.models import Balance, Entry, Hold
from apps.ledger.selectors import balance_of


class TopUpForm(forms.Form):
    amount = CreditsField(label="Credits", help_text="1 credit is US$0.01.")
    reference = text_field(
        "Reference", help_text="What the money came with: an invoice, a payment. The same reference adds it once."
    )


class CorrectionForm(forms.Form):
    amount = CreditsField(label="Credits", help_text="A negative amount takes from the account.")
    reason = text_field("Reason", help_text="Kept with the entry for good.", max_length=300)


@admin.register(Account)
class AccountMoneyAdmin(AccountAdmin):
    list_display = ("name", "status", "balance_text", "held_text", "available_text", "rpm_limit", "created_at")
    actions_detail = ("top_up", "correct", "see_entries", "see_usage", "see_keys")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        balance = Balance.objects.filter(account_id=OuterRef("id"))
        return (
            super()
            .get_queryset(request)
            .annotate(
                balance_micro=Subquery(balance.values("balance_micro")[:1]),
                held_micro=Subquery(balance.values("held_micro")[:1]),
            )
        )

    def get_fields(self, request: HttpRequest, obj: Account | None = None) -> Any:
        return self.fields if obj is None else ("balance_text", "held_text", "available_text", *self.fields)

    def get_readonly_fields(self, request: HttpRequest, obj: Account | None = None) -> Any:
        return () if obj is None else ("balance_text", "held_text", "available_text")

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

    @page_action(title="Top up", icon="add_card", permission="ledger.add_entry")
    def top_up(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Add paid credits, once per reference."""
        account = Account.objects.get(pk=object_id)
        form = TopUpForm(request.POST or None, initial={"reference": f"manual {new_id().hex[:16]}"})
        if form.is_valid():
            return self._move(request, account, form, title="Top up", service=services.top_up)
        return self._money_page(request, account, form, title="Top up")

    @page_action(title="Correct", icon="balance", permission="ledger.add_entry")
    def correct(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Repair a mistake with an entry of its own that names its reason."""
        account = Account.objects.get(pk=object_id)
        form = CorrectionForm(request.POST or None)
        if form.is_valid():
            return self._move(request, account, form, title="Correct", service=services.correct)
        return self._money_page(request, account, form, title="Correct")

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
        self, request: HttpRequest, account: Account, form: forms.Form, *, title: str, service: Any
    ) -> HttpResponse:
        try:
            movement = service(account_id=account.id, actor=request.user.get_username(), **form.cleaned_data)
        except services.BadMovement as refused:
            form.add_error(None, str(refused))
            return self._money_page(request, account, form, title=title)
        balances = f"{credits_text(movement.balance_before.micro)} → {credits_text(movement.balance_after.micro)}"
        if movement.repeated:
            messages.warning(request, f"That reference was topped up before ({balances}): nothing was added again.")
        else:
            log_change(request, account, f"{title}: {form.cleaned_data['amount']} credits.")
            messages.success(request, f"Balance of {account.name}: {balances}.")
        return HttpResponseRedirect(reverse("admin:accounts_account_change", args=[account.pk]))

    def _money_page(self, request: HttpRequest, account: Account, form: forms.Form, *, title: str) -> HttpResponse:
        facts = balance_of(account.id)
        return form_page(
            self,
            request,
            row=account,
            form=form,
            title=f"{title}: {account.name}",
            submit=title,
            facts={
                "Balance": credits_text(facts.balance.micro),
                "Held by open calls": credits_text(facts.held.micro),
                "Available": credits_text(facts.available.micro),
            },
        )


def _list_of(account_id: str, page: str) -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse(f"admin:{page}_changelist", query={"account": account_id}))


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdmin[Entry]):
    list_display = ("moment", "account", "seq", "kind", "amount", "balance_after", "reference", "actor")
    list_filter = (AccountFilter, "kind", PeriodFilter)
    search_fields = ("reference__exact",)
    search_help_text = "Reference, exactly"
    ordering = ("-id",)
    paginator = InfinitePaginator
    fields = (
        "moment",
        "account",
        "seq",
        "kind",
        "amount",
        "debit",
        "credit",
        "balance_before",
        "balance_after",
        "operation",
        "reference",
        "reason",
        "actor",
    )
    readonly_fields = ("moment", "account", "amount", "balance_before", "balance_after", "operation")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Entry]:
        return super().get_queryset(request).annotate(account_name=account_name_column())

    @admin.display(description="When (UTC)")
    def moment(self, entry: Entry) -> str:
        return instant_text(entry.created_at)

    @admin.display(description="Account")
    def account(self, entry: Any) -> SafeString:
        return account_link(entry.account_id, entry.account_name)

    @admin.display(description="Amount")
    def amount(self, entry: Entry) -> str:
        return credits_text(entry.amount_micro)

    @admin.display(description="Balance before")
    def balance_before(self, entry: Entry) -> str:
        return credits_text(entry.balance_before_micro)

    @admin.display(description="Balance after")
    def balance_after(self, entry: Entry) -> str:
        return credits_text(entry.balance_after_micro)

    @admin.display(description="Request or operation")
    def operation(self, entry: Entry) -> str:
        return show_request_id(entry.operation_id)


@admin.register(Hold)
class HoldAdmin(ReadOnlyAdmin[Hold]):
    list_display = ("moment", "account", "model_id", "state", "amount", "request_shown")
    list_filter = (AccountFilter, "state")
    ordering = ("-request_id",)
    paginator = InfinitePaginator
    fields = (
        "moment",
        "account",
        "key_id",
        "model_id",
        "state",
        "amount",
        "request_shown",
        "process_id",
        "windows",
        "expired_at",
    )
    readonly_fields = ("moment", "account", "amount", "request_shown")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Hold]:
        return super().get_queryset(request).annotate(account_name=account_name_column())

    @admin.display(description="Since (UTC)")
    def moment(self, hold: Hold) -> str:
        return instant_text(hold.created_at)

    @admin.display(description="Account")
    def account(self, hold: Any) -> SafeString:
        return account_link(hold.account_id, hold.account_name)

    @admin.display(description="Amount")
    def amount(self, hold: Hold) -> str:
        return credits_text(hold.amount_micro)

    @admin.display(description="Request")
    def request_shown(self, hold: Hold) -> str:
        return show_request_id(hold.request_id)
