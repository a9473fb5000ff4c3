"""The operator's logs of money: entries that cannot be changed, grants, open holds. `admin_money.py` moves it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from apps.accounts.admin_base import (
    AccountFilter,
    InfinitePaginator,
    PeriodFilter,
    ReadOnlyAdmin,
    account_link,
    account_name_column,
    instant_text,
)
from apps.accounts.admin_forms import credits_text
from apps.core.ids import show_request_id
from apps.ledger.admin_money import AccountMoneyAdmin
from apps.ledger.models import Entry, Grant, Hold

__all__ = ["AccountMoneyAdmin"]


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
        "granted",
        "debit",
        "credit",
        "balance_before",
        "balance_after",
        "operation",
        "subject",
        "reference",
        "reason",
        "actor",
    )
    readonly_fields = (
        "moment",
        "account",
        "amount",
        "granted",
        "balance_before",
        "balance_after",
        "operation",
        "subject",
    )

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

    @admin.display(description="Of it granted")
    def granted(self, entry: Entry) -> str:
        return credits_text(entry.granted_micro)

    @admin.display(description="Balance before")
    def balance_before(self, entry: Entry) -> str:
        return credits_text(entry.balance_before_micro)

    @admin.display(description="Balance after")
    def balance_after(self, entry: Entry) -> str:
        return credits_text(entry.balance_after_micro)

    @admin.display(description="Request or operation")
    def operation(self, entry: Entry) -> str:
        return show_request_id(entry.operation_id)

    @admin.display(description="About")
    def subject(self, entry: Entry) -> str:
        return "-" if entry.subject_id is None else show_request_id(entry.subject_id)


@admin.register(Grant)
class GrantAdmin(ReadOnlyAdmin[Grant]):
    list_display = ("moment", "account", "amount", "remains", "priority", "expiry")
    list_filter = (AccountFilter, PeriodFilter)
    ordering = ("-id",)
    paginator = InfinitePaginator
    fields = ("moment", "account", "amount", "remains", "priority", "expiry")
    readonly_fields = ("moment", "account", "amount", "remains", "expiry")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Grant]:
        return super().get_queryset(request).annotate(account_name=account_name_column())

    @admin.display(description="Since (UTC)")
    def moment(self, grant: Grant) -> str:
        return instant_text(grant.created_at)

    @admin.display(description="Account")
    def account(self, grant: Any) -> SafeString:
        return account_link(grant.account_id, grant.account_name)

    @admin.display(description="Amount")
    def amount(self, grant: Grant) -> str:
        return credits_text(grant.amount_micro)

    @admin.display(description="Remains")
    def remains(self, grant: Grant) -> str:
        return credits_text(grant.remaining_micro)

    @admin.display(description="Expires (UTC)")
    def expiry(self, grant: Grant) -> str:
        return instant_text(grant.expires_at)


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
