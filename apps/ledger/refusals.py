"""What a caller is told of a hold that it does not get. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from apps.core.errors import LimitFacts
from apps.core.money import Credits
from apps.ledger.operations import Hold, HoldRefused, State


def refuse_stopped(state: State, asked: Hold) -> HoldRefused | None:
    key = state.keys.get(asked.key_id)
    if key is None:
        return HoldRefused("invalid_api_key", "This API key no longer exists.")
    if key.is_suspended:
        message = "This API key is suspended. Ask the people of your account to reinstate it."
        return HoldRefused("key_suspended", message)
    if key.is_frozen:
        return HoldRefused("account_frozen", "This account is frozen. Ask its operator.")
    if key.expires_at is not None and state.now >= key.expires_at:
        return HoldRefused("key_expired", "This API key has expired.")
    return None


_REASONS: Final = {
    "insufficient_credits": "The account has too few credits for this call",
    "key_limit_exhausted": "This API key's limit leaves too little for this call",
    "key_budget_exhausted": "This API key's budget leaves too little for this call",
    "key_model_limit_exhausted": "This API key's limit for the model leaves too little for this call",
    "account_budget_exhausted": "The account's daily budget leaves too little for this call",
}


def refusal(code: str, asked: Hold, value: int, used: int, resets_at: datetime | None, available: int) -> HoldRefused:
    message = f"{_REASONS[code]}: it needs {Credits(asked.least_micro)} credits, {Credits(available)} are available."
    facts = LimitFacts(
        code,
        value,
        used,
        resets_at=resets_at,
        is_money=True,
        needed=asked.least_micro,
        available=available,
    )
    return HoldRefused(code, message, facts=facts)


def refusal_of_absorbed(cap_micro: int, absorbed_micro: int, resets_at: datetime | None) -> HoldRefused:
    message = (
        f"Calls of this account cost {Credits(absorbed_micro)} credits more today than could be charged for them. That"
        " is as much as is borne in a day: its calls are served again tomorrow (UTC), or ask its operator."
    )
    facts = LimitFacts("account_absorbed", cap_micro, absorbed_micro, resets_at=resets_at, is_money=True)
    return HoldRefused("account_budget_exhausted", message, facts=facts)
