"""The operator's pages for tests: who looks at them, and how to find and read them."""

from __future__ import annotations

import re
from typing import Any

from django.test import Client
from django.urls import reverse

from apps.accounts.models import Account, User
from apps.accounts.services import create_account
from apps.catalog.services import load_catalog
from apps.core.clock import now
from apps.core.ids import new_id
from apps.core.money import Credits
from apps.ledger import services as money
from apps.usage.models import UsageRecord


def operators_browser() -> Client:
    """A client signed in as `olga`, who may do everything."""
    client = Client()
    client.force_login(User.objects.create_superuser("olga", "olga@example.com"))
    return client


def funded_account(name: str) -> Account:
    """An account with 1,000 credits, in an installation with the shipped catalog."""
    load_catalog()
    account = create_account(name=name, actor="root")
    money.open_account(account_id=account.id)
    money.top_up(account_id=account.id, amount=Credits.whole(1_000), reference="opening", actor="root")
    return account


def change(row: Any, page: str = "change") -> str:
    """The path of a row's own page, or of another page about it."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{page}", args=[row.pk])


def listing(model: str) -> str:
    return reverse(f"admin:{model}_changelist")


def text_of(response: Any) -> str:
    """What a page says, without its markup."""
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def usage_record(account: Account, **fields: Any) -> UsageRecord:
    values: dict[str, Any] = {
        "request_id": new_id(),
        "account_id": account.id,
        "key_id": new_id(),
        "model_id": "gpt-5-5",
        "endpoint": "chat",
        "status": "succeeded",
        "is_stream": False,
        "http_status": 200,
        "latency_ms": 1_500,
        "charge_micro": 12_500_000,
        "received_at": now(),
    }
    return UsageRecord.objects.create(**{**values, **fields})
