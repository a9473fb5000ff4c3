"""Reads about accounts and their people."""

from __future__ import annotations

import uuid

from apps.accounts.mistakes import AccountMistake
from apps.accounts.models import Account
from apps.core.money import json_number


def find_account(text: str) -> Account:
    """The account with this id or name.

    Raises: AccountMistake, where there is none.
    """
    try:
        by_id = Account.objects.filter(id=uuid.UUID(text)).first()
    except ValueError:
        by_id = None
    account = by_id or Account.objects.filter(name=text).first()
    if account is None:
        raise AccountMistake(f"no account with the id or name {text!r}")
    return account


def account_settings(account: Account) -> dict[str, object]:
    """An account's settings as `set_account --json` prints them; amounts are credits."""
    return {
        "account_id": str(account.id),
        "name": account.name,
        "status": account.status,
        "rpm": account.rpm_limit,
        "daily": None if account.daily_budget_micro is None else json_number(account.daily_budget_micro),
        "absorbed_cap": None if account.absorbed_cap_micro is None else json_number(account.absorbed_cap_micro),
        "insurance_daily_cap": None
        if account.insurance_cap_micro is None
        else json_number(account.insurance_cap_micro),
        "cli_violation": account.cli_violation,
        "retention_days": account.retention_days,
        "keep_replies": account.keep_replies,
    }
