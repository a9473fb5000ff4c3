"""Money. Amounts are microcredits. Every writer takes the account's `Balance` row first."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from apps.core.ids import new_id
from apps.core.money import MAX_MICRO


class Balance(models.Model):
    """What an account has: the sum of its entries, and of its open holds."""

    account_id = models.UUIDField(primary_key=True)
    balance_micro = models.BigIntegerField(default=0)
    held_micro = models.BigIntegerField(default=0)
    owed_micro = models.BigIntegerField(
        default=0, db_default=0, help_text="Reversed payments whose credits were spent: later top-ups pay them first."
    )
    seq = models.BigIntegerField(default=0, help_text="The account's newest entry.")
    moved_at = models.DateTimeField(null=True, help_text="When the newest entry was made.")

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(held_micro__gte=0) & Q(held_micro__lte=F("balance_micro")),
                name="balance_covers_holds",
            ),
            models.CheckConstraint(
                condition=Q(balance_micro__lte=MAX_MICRO, owed_micro__gte=0, owed_micro__lte=MAX_MICRO, seq__gte=0),
                name="balance_in_bounds",
            ),
        ]

    def __str__(self) -> str:
        return str(self.account_id)


class Entry(models.Model):
    """One movement: from `debit` to `credit`. Only ever added; the database refuses anything else.

    `debit` and `credit` name `customer` (this account) or a house account. `operation_id` is the request, or the
    top-up, grant or correction, that moved it: unique with its kind. `subject_id` is the other operation that it is
    about: the request that is refunded, the grant that expired. Partitioned by RANGE(operation_id) on PostgreSQL.
    """

    class Kind(models.TextChoices):
        TOP_UP = "top_up"
        GRANT = "grant"
        EXPIRY = "expiry"
        CHARGE = "charge"
        COMPENSATION = "compensation"
        REFUND = "refund"
        CLAW_BACK = "claw_back"
        OWED = "owed"
        REPAYMENT = "repayment"
        CORRECTION = "correction"
        ABSORBED = "absorbed"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account_id = models.UUIDField()
    seq = models.BigIntegerField()
    operation_id = models.UUIDField()
    kind = models.CharField(max_length=12, choices=Kind)
    debit = models.CharField(max_length=30)
    credit = models.CharField(max_length=30)
    amount_micro = models.BigIntegerField()
    granted_micro = models.BigIntegerField(
        default=0, db_default=0, help_text="What of the amount is credits that nobody paid for."
    )
    balance_before_micro = models.BigIntegerField()
    balance_after_micro = models.BigIntegerField()
    reference = models.CharField(max_length=200, blank=True)
    reason = models.CharField(max_length=300, blank=True)
    actor = models.CharField(max_length=150, blank=True, help_text="Who moved it; empty for the gateway.")
    subject_id = models.UUIDField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["account_id", "-seq"]
        verbose_name_plural = "entries"
        indexes: ClassVar = [
            models.Index(fields=["account_id", "-seq"], name="entry_by_account"),
            models.Index(fields=["account_id", "reference"], name="entry_by_reference", condition=~Q(reference="")),
            models.Index(fields=["account_id", "subject_id"], name="entry_by_subject", condition=~Q(subject_id=None)),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account_id", "operation_id", "kind"], name="entry_once_per_operation"),
            models.CheckConstraint(condition=Q(amount_micro__gt=0), name="entry_amount_positive"),
            models.CheckConstraint(condition=~Q(debit=F("credit")), name="entry_moves_between_two"),
            models.CheckConstraint(
                condition=Q(balance_before_micro__gte=0, balance_after_micro__gte=0, seq__gte=1),
                name="entry_balance_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(
                    amount_micro__lte=MAX_MICRO,
                    granted_micro__gte=0,
                    granted_micro__lte=F("amount_micro"),
                    balance_before_micro__lte=MAX_MICRO,
                    balance_after_micro__lte=MAX_MICRO,
                ),
                name="entry_in_bounds",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} #{self.seq}"


class Grant(models.Model):
    """Credits that nobody paid for, and what of them remains: used before paid ones, of no use once expired.

    Among an account's grants the lowest priority is used first, then the soonest to expire, then the oldest. The id is
    the operation of the entry that gave them.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    account_id = models.UUIDField()
    amount_micro = models.BigIntegerField()
    remaining_micro = models.BigIntegerField()
    priority = models.PositiveSmallIntegerField(default=0, help_text="Lower ones are used first.")
    expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["account_id"], name="grant_by_account", condition=Q(remaining_micro__gt=0)),
            models.Index(fields=["expires_at"], name="grant_by_expiry", condition=Q(remaining_micro__gt=0)),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(
                    amount_micro__gt=0,
                    amount_micro__lte=MAX_MICRO,
                    remaining_micro__gte=0,
                    remaining_micro__lte=F("amount_micro"),
                ),
                name="grant_in_bounds",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Hold(models.Model):
    """Credits set aside for one running call. Gone once settled or released; an expired one leaves a tombstone."""

    class State(models.TextChoices):
        OPEN = "open"
        EXPIRED = "expired"

    request_id = models.UUIDField(primary_key=True)
    account_id = models.UUIDField()
    key_id = models.UUIDField()
    model_id = models.CharField(max_length=100)
    process_id = models.UUIDField()
    state = models.CharField(max_length=10, choices=State, default=State.OPEN)
    amount_micro = models.BigIntegerField()
    windows = models.JSONField(help_text="The budget windows that this hold counts in.")
    created_at = models.DateTimeField()
    expired_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["account_id", "request_id"], name="hold_by_account"),
            models.Index(fields=["process_id"], name="hold_by_process"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(amount_micro__gte=0), name="hold_not_negative"),
            models.CheckConstraint(condition=Q(amount_micro__lte=MAX_MICRO), name="hold_in_bounds"),
        ]

    def __str__(self) -> str:
        return f"req_{self.request_id.hex}"


class BudgetWindow(models.Model):
    """How much of one limit is spent and held. `starts_at` is the window's turn by the store's clock.

    `absorbed` counts what the house paid for the account in a day, `compensation` what insurance paid to it: nothing is
    ever held of them.
    """

    class Period(models.TextChoices):
        LIFETIME = "lifetime"
        DAILY = "daily"
        HOURLY = "hourly"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account_id = models.UUIDField()
    scope = models.CharField(max_length=150, help_text="`account`, `key:ID`, `key:ID:MODEL`; or `absorbed`.")
    period = models.CharField(max_length=10, choices=Period)
    starts_at = models.DateTimeField()
    spent_micro = models.BigIntegerField(default=0)
    held_micro = models.BigIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account_id", "scope", "period", "starts_at"], name="window_once"),
            models.CheckConstraint(condition=Q(spent_micro__gte=0, held_micro__gte=0), name="window_not_negative"),
            models.CheckConstraint(
                condition=Q(spent_micro__lte=MAX_MICRO, held_micro__lte=MAX_MICRO), name="window_in_bounds"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.period}"


class ClosedWindow(models.Model):
    """The history of budgets: a window whose time is over, taken out of the table that every call reads."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account_id = models.UUIDField()
    scope = models.CharField(max_length=150)
    period = models.CharField(max_length=10, choices=BudgetWindow.Period)
    starts_at = models.DateTimeField()
    spent_micro = models.BigIntegerField()
    closed_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["account_id", "-starts_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account_id", "scope", "period", "starts_at"], name="closed_window_once"),
            models.CheckConstraint(
                condition=Q(spent_micro__gte=0, spent_micro__lte=MAX_MICRO), name="closed_window_in_bounds"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.period}"


class ProcessLease(models.Model):
    """A live gateway process. When its lease is over, its open holds are nobody's and the sweeper expires them."""

    process_id = models.UUIDField(primary_key=True)
    name = models.CharField(max_length=100)
    started_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class IdempotencyKey(models.Model):
    """The call that a caller's Idempotency-Key belongs to, for a day: it is claimed with the call's hold.

    Keyed digests only. How the call ended is told by its hold and its usage record. Rows belong to their account: they
    are written under its lock.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account_id = models.UUIDField()
    key_digest = models.CharField(max_length=64)
    body_digest = models.CharField(max_length=64)
    request_id = models.UUIDField()
    claimed_at = models.DateTimeField()
    reply = models.BinaryField(null=True, help_text="What was answered, where the account keeps replies.")

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["account_id", "request_id"], name="idempotency_by_request"),
            models.Index(fields=["claimed_at"], name="idempotency_by_age"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account_id", "key_digest"], name="idempotency_key_once_per_account"),
        ]

    def __str__(self) -> str:
        return f"req_{self.request_id.hex}"
