"""What a key looks like, and what it may do. Pure decisions; the snapshots come from cache.py."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import uuid
import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from apps.core.errors import GatewayError

PREFIX: Final = "ck_"
RANDOM_LENGTH: Final = 36
CHECKSUM_LENGTH: Final = 6
ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PAIRS: Final = [first + second for first in ALPHABET for second in ALPHABET]
"""Every number of two base62 digits: a checksum is three of them."""
SHAPE: Final = re.compile(rf"ck_[0-9A-Za-z]{{{RANDOM_LENGTH + CHECKSUM_LENGTH}}}")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class KeyRefused(GatewayError):
    """This key may not make this call (401 or 403)."""


@dataclass(frozen=True, slots=True)
class ModelLimitSnapshot:
    limit_micro: int | None
    rpm_limit: int | None


@dataclass(frozen=True, slots=True)
class KeySnapshot:
    """A key's row as the hot path sees it. Empty sets and None mean: no such limit."""

    key_id: uuid.UUID
    account_id: uuid.UUID
    is_suspended: bool
    expires_at: datetime | None
    allowed_models: frozenset[str]
    allowed_networks: tuple[Network, ...]
    limit_micro: int | None
    daily_budget_micro: int | None
    hourly_budget_micro: int | None
    rpm_limit: int | None
    model_limits: dict[str, ModelLimitSnapshot]


@dataclass(frozen=True, slots=True)
class Client:
    """Who is calling, as far as permission depends on it."""

    address: str
    user_agent: str


def make_key() -> str:
    """A fresh key: `ck_`, 36 random base62 digits (214 bits), 6 that check them."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return PREFIX + body + _checksum(body)


def is_well_formed(text: str) -> bool:
    """Whether this can be a key at all: a typo fails here, before any look-up."""
    if SHAPE.fullmatch(text) is None:
        return False
    body, check = text[len(PREFIX) : -CHECKSUM_LENGTH], text[-CHECKSUM_LENGTH:]
    return _checksum(body) == check


def digest(key: str, *, pepper: str) -> str:
    """What is stored of a key: HMAC-SHA256 under the installation's pepper, 64 hex digits."""
    return keyed_digest(key, pepper=pepper)


def keyed_digest(text: str, *, pepper: str) -> str:
    """What is stored of any text that must not be read back. Whoever keeps several kinds puts the kind in front."""
    return hmac.digest(pepper.encode(), text.encode(), "sha256").hex()


def last4(key: str) -> str:
    """What pages show of a key."""
    return key[-4:]


def _checksum(body: str) -> str:
    rest, low = divmod(zlib.crc32(body.encode()), len(PAIRS))
    high, middle = divmod(rest, len(PAIRS))
    return PAIRS[high] + PAIRS[middle] + PAIRS[low]


def check_key(key: KeySnapshot, *, client: Client, now: datetime) -> None:
    """Refuse a key that may not call at all.

    Raises: KeyRefused.
    """
    if key.is_suspended:
        raise KeyRefused("key_suspended", "This API key is suspended. Ask the people of your account to reinstate it.")
    if key.expires_at is not None and now >= key.expires_at:
        raise KeyRefused("key_expired", "This API key has expired.")
    if key.allowed_networks and not _is_inside(client.address, key.allowed_networks):
        raise KeyRefused("ip_not_allowed", "This API key may not be used from this address.")


def check_model(key: KeySnapshot, *, model_id: str) -> None:
    """Refuse a model outside the key's scope.

    Raises: KeyRefused.
    """
    if key.allowed_models and model_id not in key.allowed_models:
        raise KeyRefused("model_not_allowed", f"This API key may not call {model_id}.", param="model")


def _is_inside(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)
