"""Every amount and every count that money is made of has a CHECK for its sign and its size, in the database itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, models, transaction
from django.db.models import CheckConstraint, Q, Value

from apps.core.ids import new_id
from apps.core.money import MAX_MICRO
from apps.ledger.models import BudgetWindow, Entry
from apps.ledger.partitions import TABLES
from tests.ledger.contract import Payer

OTHER_INTEGERS = {
    "revision",
    "usagerecord.latency_ms",
    "usagerecord.first_byte_ms",
    "usagerecord.queue_ms",
    "policy.tpm",
    "policy.queue_tokens",
    "revision.value",
}
"""Wide integer columns that are neither money nor what it is made of: a new one is classed here or has a CHECK."""


def money_columns() -> Iterator[tuple[type[models.Model], str]]:
    for model in apps.get_models():
        if model._meta.proxy or not model.__module__.startswith("apps."):
            continue
        name = model._meta.model_name
        for field in model._meta.concrete_fields:
            is_wide = isinstance(field, models.BigIntegerField) and not isinstance(field, models.BigAutoField)
            if is_wide and field.name not in OTHER_INTEGERS and f"{name}.{field.name}" not in OTHER_INTEGERS:
                yield model, field.name


COLUMNS = sorted(money_columns(), key=lambda column: (column[0].__name__, column[1]))
MODELS: list[type[models.Model]] = list(dict.fromkeys(model for model, _ in COLUMNS))


def checks(model: type[models.Model]) -> list[CheckConstraint]:
    return [constraint for constraint in model._meta.constraints if isinstance(constraint, CheckConstraint)]


def broken(model: type[models.Model], **columns: int) -> list[str]:
    """The CHECKs that a row breaks whose columns are all 1, but for these."""
    row: dict[str, Any] = {}
    for field in model._meta.concrete_fields:
        if isinstance(field, models.BigIntegerField):
            row[field.name] = Value(columns.get(field.name, 1), output_field=models.BigIntegerField())
        elif isinstance(field, models.CharField):
            row[field.name] = Value(field.name, output_field=models.CharField())
    return [check.name for check in checks(model) if not _holds(check, row)]


def _holds(check: CheckConstraint, row: dict[str, Any]) -> bool:
    assert isinstance(check.condition, Q)
    return check.condition.check(row)


def test_there_are_columns_to_look_at() -> None:
    names = {f"{model.__name__}.{name}" for model, name in COLUMNS}
    assert names >= {
        "Balance.balance_micro",
        "Balance.held_micro",
        "Balance.owed_micro",
        "Entry.amount_micro",
        "Entry.granted_micro",
        "Hold.amount_micro",
        "BudgetWindow.spent_micro",
        "ClosedWindow.spent_micro",
        "Grant.remaining_micro",
        "UsageRecord.output_tokens",
        "UsageRecord.charge_micro",
        "Account.daily_budget_micro",
        "Account.absorbed_cap_micro",
        "Account.insurance_cap_micro",
        "UsageRecord.due_micro",
        "ApiKey.limit_micro",
        "ModelLimit.limit_micro",
        "PriceVersion.input",
    }


@pytest.mark.django_db
@pytest.mark.parametrize(("model", "column"), COLUMNS, ids=lambda value: getattr(value, "__name__", value))
def test_a_column_of_money_is_held_to_its_sign_and_its_bound(model: type[models.Model], column: str) -> None:
    assert broken(model) == []
    assert broken(model, **{column: -1}) != []
    if column != "seq":
        assert broken(model, **{column: MAX_MICRO + 1}) != []


@pytest.mark.django_db
@pytest.mark.parametrize("model", MODELS)
def test_the_database_has_the_checks_that_the_models_name(model: type[models.Model]) -> None:
    names = {check.name for check in checks(model)}
    table = model._meta.db_table
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, table)
        assert names <= {name for name, facts in found.items() if facts["check"]}
        if table not in TABLES or connection.vendor != "postgresql":
            return
        cursor.execute(
            "SELECT c.relname, array_agg(k.conname::text) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'c'"
            " WHERE i.inhparent = %s::regclass GROUP BY 1",
            [table],
        )
        partitions = dict(cursor.fetchall())
    assert len(partitions) == 5
    for partition, held in partitions.items():
        assert names <= set(held), partition


@pytest.mark.parametrize("amount", [-1, MAX_MICRO + 1])
def test_a_row_beyond_its_bounds_is_refused(ledger_db: None, alice: Payer, amount: int) -> None:
    entry = Entry.objects.get()
    entry.id, entry.operation_id, entry.amount_micro = new_id(), new_id(), amount
    with pytest.raises(IntegrityError), transaction.atomic():
        entry.save(force_insert=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        BudgetWindow.objects.create(
            account_id=alice.account_id, scope="account", period="daily", starts_at=entry.created_at, spent_micro=amount
        )
