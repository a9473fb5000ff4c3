"""The operator's pages about accounts, people and the audit log. The ledger registers accounts, with their money."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, Permission
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from apps.accounts import (
    admin_alerts,  # noqa: F401  # registers its page
    audit,
    services,
)
from apps.accounts.admin_base import (
    AccountFilter,
    InfinitePaginator,
    OperatorAdmin,
    PeriodFilter,
    ReadOnlyAdmin,
    ServiceInline,
    adopt,
    instant_text,
)
from apps.accounts.admin_forms import CreditsField, amount_or_none, credits_text, mistakes_as_errors
from apps.accounts.admin_types import ModelForm
from apps.accounts.models import Account, AuditEvent, Member, Notification, User

SETTINGS = (
    "name",
    "status",
    "rpm_limit",
    "daily_budget",
    "absorbed_cap",
    "insurance_cap",
    "cli_violation",
    "retention_days",
    "keep_replies",
)
OUR_APPS = ("accounts", "keys", "catalog", "upstreams", "usage", "ledger", "insurance")

admin.site.unregister(Group)


class AccountForm(ModelForm[Account]):
    daily_budget = CreditsField(
        label="Daily budget", required=False, help_text="Credits that all its keys together may spend in a day (UTC)."
    )
    absorbed_cap = CreditsField(
        label="Absorbed a day",
        required=False,
        help_text="Credits that the house pays in a day (UTC) for calls that cost more than they could be charged."
        " Once spent, no further call that day. Empty: no such limit.",
    )

    insurance_cap = CreditsField(
        label="Insurance payouts a day",
        required=False,
        help_text="Credits that insurance pays in a day (UTC) for its slow calls. Empty: no such limit.",
    )

    class Meta:
        model = Account
        fields = ("name", "status", "rpm_limit", "cli_violation", "retention_days", "keep_replies")
        labels: ClassVar = {"cli_violation": "A CLI-only model called by anything else"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("daily_budget", amount_or_none(self.instance.daily_budget_micro))
        self.initial.setdefault("absorbed_cap", amount_or_none(self.instance.absorbed_cap_micro))
        self.initial.setdefault("insurance_cap", amount_or_none(self.instance.insurance_cap_micro))

    def clean_name(self) -> str:
        with mistakes_as_errors():
            return services.check_account_name(self.cleaned_data["name"], account_id=self.instance.pk)

    def clean_daily_budget(self) -> object:
        amount = self.cleaned_data["daily_budget"]
        with mistakes_as_errors():
            services.check_budget(amount, "the daily budget")
        return amount

    def clean_absorbed_cap(self) -> object:
        amount = self.cleaned_data["absorbed_cap"]
        with mistakes_as_errors():
            services.check_budget(amount, "what the house absorbs a day")
        return amount

    def clean_insurance_cap(self) -> object:
        amount = self.cleaned_data["insurance_cap"]
        with mistakes_as_errors():
            services.check_budget(amount, "what insurance pays a day")
        return amount

    def changes(self) -> services.AccountChanges:
        """What the operator changed."""
        chosen = {name: self.cleaned_data[name] for name in SETTINGS if name in self.changed_data}
        return cast(services.AccountChanges, chosen)


class MemberInline(ServiceInline[Member]):
    model = Member
    fields = ("user", "role")
    autocomplete_fields = ("user",)
    verbose_name_plural = "people"


class AccountAdmin(OperatorAdmin[Account]):
    """Settings and people; `open_account` is where a subclass adds what a new account needs."""

    form = AccountForm
    fields: ClassVar[Any] = SETTINGS
    inlines = (MemberInline,)
    list_display: Any = ("name", "status", "rpm_limit", "daily_budget_text", "created_at")
    list_filter = ("status",)
    search_fields = ("name", "members__user__email")
    search_help_text = "Name or a member's email address"

    @admin.display(description="Daily budget")
    def daily_budget_text(self, account: Account) -> str:
        return credits_text(account.daily_budget_micro, empty="no budget")

    def open_account(self, account: Account) -> None:
        """Called in the transaction that created the account."""

    def save_model(self, request: HttpRequest, obj: Account, form: AccountForm, change: bool) -> None:
        actor, changes = request.user.get_username(), form.changes()
        if not change:
            created = services.create_account(name=form.cleaned_data["name"], actor=actor)
            self.open_account(created)
            obj.id = created.id
        adopt(obj, services.set_account(account_id=obj.id, actor=actor, **changes))

    def save_formset(
        self, request: HttpRequest, form: Any, formset: BaseInlineFormSet[Any, Any, Any], change: bool
    ) -> None:
        actor = request.user.get_username()
        members: list[Member] = formset.save(commit=False)
        for member in formset.deleted_objects:
            services.remove_member(member_id=member.id, actor=actor)
        for member in members:
            was = Member.objects.filter(id=member.id).first()
            if was is not None and was.user_id != member.user_id:
                services.remove_member(member_id=was.id, actor=actor)
            services.admit_member(account_id=form.instance.id, user_id=member.user_id, role=member.role, actor=actor)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, OperatorAdmin):  # type: ignore[type-arg]  # both are pages of User
    """People who sign in. What they are to an account is on the account's page."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "is_staff", "is_active", "last_login")
    list_filter = ("is_staff", "is_active")
    search_fields = ("username", "email", "first_name", "last_name")
    filter_horizontal: ClassVar[Any] = ()
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("email", "first_name", "last_name")}),
        ("Operator", {"fields": ("is_active", "is_staff", "is_superuser", "user_permissions")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets: Any = (
        (None, {"fields": ("username", "email", "usable_password", "password1", "password2")}),
        ("Operator", {"fields": ("is_staff",)}),
    )
    readonly_fields = ("last_login", "date_joined")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Only a superuser makes operators: else anyone who may edit people could make themselves one."""
        fixed = super().get_readonly_fields(request, obj)
        if request.user.is_superuser:
            return fixed
        return (*fixed, "is_staff", "is_superuser", "user_permissions")

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """An operator's password and address are theirs, or a superuser's, to change."""
        if obj is not None and obj.is_staff and obj != request.user and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        audit.record(
            actor=request.user.get_username(),
            action="user.changed" if change else "user.added",
            target=obj,
            detail={"fields": [name for name in form.changed_data if "password" not in name]},
        )

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user_permissions":
            kwargs["queryset"] = Permission.objects.filter(content_type__app_label__in=OUR_APPS).select_related(
                "content_type"
            )
        return super().formfield_for_manytomany(db_field, request, **kwargs)


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin[Notification]):
    list_display = ("moment", "account", "kind", "message")
    list_select_related = ("account",)
    list_filter = (AccountFilter, "kind", PeriodFilter)
    ordering = ("-id",)
    paginator = InfinitePaginator
    fields = ("created_at", "account", "kind", "subject", "message")

    @admin.display(description="When (UTC)")
    def moment(self, notification: Notification) -> str:
        return instant_text(notification.created_at)


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin[AuditEvent]):
    list_display = ("moment", "actor", "action", "target", "account")
    list_select_related = ("account",)
    list_filter = (AccountFilter, PeriodFilter)
    search_fields = ("actor__exact", "action__exact")
    search_help_text = "Who, or what was done (key.suspended)"
    ordering = ("-id",)
    paginator = InfinitePaginator
    fields = ("created_at", "actor", "action", "target", "account", "detail")

    @admin.display(description="When (UTC)")
    def moment(self, event: AuditEvent) -> str:
        return instant_text(event.created_at)

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEvent]:
        return super().get_queryset(request).select_related("account")
