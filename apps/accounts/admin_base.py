"""What the operator's pages share: rows change through services, long logs are read without counting them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeVar, cast

from django.contrib import messages
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.checks import ModelAdminChecks
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action

from apps.accounts.admin_types import ModelAdmin, Paginator, TabularInline
from apps.accounts.mistakes import Mistake
from apps.accounts.models import Account
from apps.accounts.selectors import find_account
from apps.core.clock import now
from apps.core.ids import parse_request_id, time_bound

Row = TypeVar("Row", bound=Model)
Method = TypeVar("Method", bound=Callable[..., Any])

PAGES_WITHOUT_COUNT = 100
"""How far a long log can be turned over; past that a filter or a search finds it sooner."""


class OperatorAdmin(ModelAdmin[Row]):
    """A page of rows that services change. Deleting is for the pages that offer it."""

    # Unfold's own checks ask the database for permissions, and so stop `migrate` on an empty one.
    checks_class = ModelAdminChecks

    list_per_page = 50
    actions: Any = None
    warn_unsaved_form = True

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """A service's mistake that no form field foresaw is shown above the form; nothing was changed."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except Mistake as mistake:
            messages.error(request, str(mistake))
            return HttpResponseRedirect(request.get_full_path())

    def has_delete_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False


class ReadOnlyAdmin(OperatorAdmin[Row]):
    """A log: shown, searched, never changed."""

    show_full_result_count = False
    sortable_by: ClassVar[Any] = ()
    warn_unsaved_form = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False


class RequestLogAdmin(ReadOnlyAdmin[Row]):
    """A log of calls, one row each: its search finds a request by its id as we show it."""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Row], bool]:
        if not search_term.strip():
            return queryset, False
        try:
            return queryset.filter(request_id=parse_request_id(search_term.strip())), False
        except ValueError:
            return queryset.none(), False


class ReadOnlyInline(TabularInline[Row, Any]):
    """Rows below another that are shown, never changed."""

    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ServiceInline(TabularInline[Row, Any]):
    """Rows below another that their page saves through a service."""

    extra = 0


class InfinitePaginator(Paginator[Any]):
    """Pages of a table too long to count: previous and next, up to PAGES_WITHOUT_COUNT.

    Unfold's header shows no total where the paginator has this name.
    """

    template_name = "admin/uncounted_pagination.html"

    @cached_property
    def count(self) -> int:
        return self.per_page * PAGES_WITHOUT_COUNT


class TextFilter(SimpleListFilter):
    """A filter that is typed, for columns with more values than a list can show."""

    template = "admin/text_filter.html"
    placeholder = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return ()

    def has_output(self) -> bool:
        return True

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        others = {name: values[-1] for name, values in changelist.filter_params.items() if name != self.parameter_name}
        yield {
            "name": self.parameter_name,
            "value": self.value() or "",
            "placeholder": self.placeholder,
            "others": others,
            "clear": changelist.get_query_string(remove=[str(self.parameter_name)]),
        }


class AccountFilter(TextFilter):
    """Rows of one account, by its id or name."""

    title = "account"
    parameter_name = "account"
    placeholder = "Name or id"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = (self.value() or "").strip()
        if not text:
            return queryset
        try:
            return queryset.filter(account_id=find_account(text).id)
        except Mistake:
            return queryset.none()


class PeriodFilter(SimpleListFilter):
    """How far back a log is read, by ids that begin with their time. The default keeps a page to recent partitions."""

    title = "period"
    parameter_name = "period"
    id_field = "id"
    DAYS = (("1", "Last 24 hours"), ("7", "Last 7 days"), ("30", "Last 30 days"), ("90", "Last 90 days"))
    DEFAULT_DAYS = "30"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return self.DAYS

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        chosen = self.value() or self.DEFAULT_DAYS
        for days, title in (*self.DAYS, ("any", "Any time")):
            yield {
                "selected": chosen == days,
                "query_string": changelist.get_query_string({str(self.parameter_name): days}),
                "display": title,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        days = self.value() or self.DEFAULT_DAYS
        if not days.isascii() or not days.isdigit():
            return queryset
        since = now() - timedelta(days=min(int(days), 36_500))
        return queryset.filter(**{f"{self.id_field}__gte": time_bound(int(since.timestamp() * 1_000))})


def page_action(*, title: str, icon: str, permission: str) -> Callable[[Method], Method]:
    """A button above a row's form that opens a page of its own. `permission` is `app.codename`."""

    def decorate(method: Method) -> Method:
        return cast(Method, action(description=title, icon=icon, permissions=[permission])(method))

    return decorate


def instant_text(instant: datetime | None) -> str:
    """`2026-11-22 15:00:07` in UTC: what a log shows beside others."""
    return "-" if instant is None else f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def account_name_column() -> Subquery:
    """The account's name, for rows that carry its id without a foreign key."""
    return Subquery(Account.objects.filter(id=OuterRef("account_id")).values("name")[:1])


def account_link(account_id: uuid.UUID, name: str | None) -> SafeString:
    """A link to the account's page; its id, where it is gone."""
    if name is None:
        return format_html("{}", str(account_id))
    return format_html(
        '<a class="text-link" href="{}">{}</a>', reverse("admin:accounts_account_change", args=[account_id]), name
    )


def adopt(instance: Row, row: Row) -> None:
    """Make the form's instance the row that a service wrote, for the admin's messages and redirects."""
    for field in row._meta.concrete_fields:
        setattr(instance, field.attname, getattr(row, field.attname))
    instance._state.adding = False
