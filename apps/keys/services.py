"""Changes to API keys: one transaction, one revision, one audit event each."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict, Unpack

from django.conf import settings
from django.db import transaction

from apps.accounts import audit, revisions
from apps.accounts.mistakes import check_range, clean_line
from apps.accounts.models import Account
from apps.accounts.services import check_budget
from apps.catalog.selectors import check_model_ids
from apps.core.clock import now
from apps.core.money import Credits
from apps.keys import rules
from apps.keys.models import ApiKey, ModelLimit
from apps.keys.selectors import KeyMistake


@dataclass(frozen=True, slots=True)
class ModelCap:
    """What a key may spend on one model in its lifetime, and call it per minute; None is no such limit."""

    limit: Credits | None = None
    rpm: int | None = None


class KeyChanges(TypedDict, total=False):
    """What a key may do. A name that is absent stays as it is (or, of a new key, unlimited).

    `model_caps` maps model ids to what they get; None removes a model's cap, models not named keep theirs.
    """

    name: str
    allowed_models: Iterable[str]
    allowed_networks: Iterable[str]
    limit: Credits | None
    daily_budget: Credits | None
    hourly_budget: Credits | None
    rpm_limit: int | None
    expires_at: datetime | None
    model_caps: Mapping[str, ModelCap | None]


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A fresh key. `key` is shown once and stored nowhere."""

    key: str
    row: ApiKey


@transaction.atomic
def issue_key(*, account_id: uuid.UUID, actor: str, **changes: Unpack[KeyChanges]) -> IssuedKey:
    """Make a key for an account.

    Raises: KeyMistake, CatalogMistake, Mistake.
    """
    account = Account.objects.filter(id=account_id).first()
    if account is None:
        raise KeyMistake(f"no account with the id '{account_id}'")
    columns = {"name": "key", **_columns(changes)}
    secret = rules.make_key()
    key = ApiKey(
        account=account,
        digest=rules.digest(secret, pepper=settings.ENVIRONMENT.key_pepper),
        last4=rules.last4(secret),
        revision=revisions.bump(revisions.KEYS),
        **columns,
    )
    key.save()
    detail: dict[str, object] = {**columns, **_set_caps(key, changes.get("model_caps", {}))}
    audit.record(actor=actor, action="key.issued", target=key, account_id=account.id, detail=detail)
    return IssuedKey(key=secret, row=key)


@transaction.atomic
def set_key(*, key_id: uuid.UUID, actor: str, **changes: Unpack[KeyChanges]) -> ApiKey:
    """Change what a key may do; writes nothing where nothing differs.

    Raises: KeyMistake, CatalogMistake, Mistake.
    """
    key = _locked(key_id)
    changed: dict[str, object] = {**audit.assign(key, _columns(changes))}
    changed |= _set_caps(key, changes.get("model_caps", {}))
    if changed:
        _save(key, action="key.changed", actor=actor, detail=changed)
    return key


@transaction.atomic
def suspend_key(*, key_id: uuid.UUID, why: str, actor: str) -> ApiKey:
    """Refuse the key's next call on every process. A key that is suspended already keeps its first instant.

    Raises: KeyMistake, Mistake.
    """
    why = clean_line(why, "the reason", most=200)
    key = _locked(key_id)
    key.suspended_at = key.suspended_at or now()
    key.status, key.suspended_reason = ApiKey.Status.SUSPENDED, why
    _save(key, action="key.suspended", actor=actor, detail={"why": why})
    return key


@transaction.atomic
def reinstate_key(*, key_id: uuid.UUID, why: str, actor: str) -> ApiKey:
    """Let a suspended key call again; one that is active stays as it is.

    Raises: KeyMistake, Mistake.
    """
    why = clean_line(why, "the reason", most=200)
    key = _locked(key_id)
    if key.status == ApiKey.Status.ACTIVE:
        return key
    key.status, key.suspended_reason, key.suspended_at = ApiKey.Status.ACTIVE, "", None
    _save(key, action="key.reinstated", actor=actor, detail={"why": why})
    return key


def check_networks(networks: Iterable[str]) -> list[str]:
    """Return the networks as CIDR, each once; a bare address is a network of one.

    Raises: KeyMistake.
    """
    checked = []
    for text in networks:
        try:
            checked.append(str(ipaddress.ip_network(text, strict=True)))
        except ValueError:
            raise KeyMistake(_network_mistake(text)) from None
    return list(dict.fromkeys(checked))


def check_expiry(expires_at: datetime | None) -> datetime | None:
    """Return an instant that is still to come; None for a key that does not expire.

    Raises: KeyMistake.
    """
    if expires_at is not None and expires_at <= now():
        raise KeyMistake("the key's expiry must be in the future")
    return expires_at


def _columns(changes: KeyChanges) -> dict[str, object]:
    columns: dict[str, object] = {}
    if "name" in changes:
        columns["name"] = clean_line(changes["name"], "the key's name", most=100)
    if "allowed_models" in changes:
        columns["allowed_models"] = check_model_ids(changes["allowed_models"])
    if "allowed_networks" in changes:
        columns["allowed_networks"] = check_networks(changes["allowed_networks"])
    if "limit" in changes:
        columns["limit_micro"] = check_budget(changes["limit"], "the limit")
    if "daily_budget" in changes:
        columns["daily_budget_micro"] = check_budget(changes["daily_budget"], "the daily budget")
    if "hourly_budget" in changes:
        columns["hourly_budget_micro"] = check_budget(changes["hourly_budget"], "the hourly budget")
    if "rpm_limit" in changes:
        columns["rpm_limit"] = check_range(changes["rpm_limit"], "requests per minute")
    if "expires_at" in changes:
        columns["expires_at"] = check_expiry(changes["expires_at"])
    return columns


def _set_caps(key: ApiKey, caps: Mapping[str, ModelCap | None]) -> dict[str, object]:
    """Write the caps that differ; return {"cap gpt-5-5": [was, is]} of those."""
    check_model_ids(model_id for model_id, cap in caps.items() if cap is not None)
    current = {row.model_id: row for row in key.model_limits.all()}
    changed: dict[str, object] = {}
    for model_id, cap in caps.items():
        row = current.get(model_id)
        was = None if row is None else _cap_text(row.limit_micro, row.rpm_limit)
        if cap is None:
            if row is None:
                raise KeyMistake(f"the key has no limit on {model_id!r}")
            row.delete()
            changed[f"cap {model_id}"] = [was, None]
            continue
        if cap.limit is None and cap.rpm is None:
            raise KeyMistake(f"the limit on {model_id} limits nothing")
        limit_micro, rpm = check_budget(cap.limit, "a model's limit"), check_range(cap.rpm, "requests per minute")
        if was != (text := _cap_text(limit_micro, rpm)):
            ModelLimit.objects.update_or_create(
                key=key, model_id=model_id, defaults={"limit_micro": limit_micro, "rpm_limit": rpm}
            )
            changed[f"cap {model_id}"] = [was, text]
    return changed


def _cap_text(limit_micro: int | None, rpm: int | None) -> str:
    amount = "no limit" if limit_micro is None else f"{Credits(limit_micro)} credits"
    return amount if rpm is None else f"{amount}, {rpm} per minute"


def _network_mistake(text: str) -> str:
    try:
        return f"{text} has host bits set: did you mean {ipaddress.ip_network(text, strict=False)}?"
    except ValueError:
        return f"not an address or a network: {text!r}"


def _locked(key_id: uuid.UUID) -> ApiKey:
    key = ApiKey.objects.select_for_update().filter(id=key_id).first()
    if key is None:
        raise KeyMistake(f"no API key with the id '{key_id}'")
    return key


def _save(key: ApiKey, *, action: str, actor: str, detail: Mapping[str, object]) -> None:
    key.revision = revisions.bump(revisions.KEYS)
    key.save()
    audit.record(actor=actor, action=action, target=key, account_id=key.account_id, detail=detail)
