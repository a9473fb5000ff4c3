"""The operator's page of what wants seeing to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.accounts import alerts
from apps.accounts.admin_base import ReadOnlyAdmin, instant_text
from apps.accounts.models import OperatorAlert


class OpenFilter(admin.SimpleListFilter):
    """What is open, unless asked otherwise."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return (("resolved", "Resolved"), ("any", "All"))

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        for value, title in ((None, "Open"), *self.lookup_choices):
            yield {
                "selected": self.value() == value,
                "query_string": changelist.get_query_string(
                    {self.parameter_name: value} if value else {}, [self.parameter_name]
                ),
                "display": title,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "any":
            return queryset
        return queryset.filter(resolved_at__isnull=self.value() != "resolved")


@admin.register(OperatorAlert)
class OperatorAlertAdmin(ReadOnlyAdmin[OperatorAlert]):
    list_display = ("last_seen", "kind", "subject", "message", "times", "state")
    list_filter = (OpenFilter, "kind")
    search_fields = ("subject", "message")
    actions = ("resolve",)
    fields = ("kind", "subject", "message", "times", "first_seen_at", "last_seen_at", "resolved_at", "resolved_by")

    @admin.display(description="Last seen (UTC)")
    def last_seen(self, alert: OperatorAlert) -> str:
        return instant_text(alert.last_seen_at)

    @admin.display(description="State")
    def state(self, alert: OperatorAlert) -> str:
        return "open" if alert.resolved_at is None else f"resolved by {alert.resolved_by}"

    @admin.action(description="Resolve", permissions=["resolve"])
    def resolve(self, request: HttpRequest, queryset: QuerySet[OperatorAlert]) -> None:
        for alert in queryset:
            alerts.resolve(alert_id=alert.id, actor=request.user.get_username())

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.change_operatoralert")
