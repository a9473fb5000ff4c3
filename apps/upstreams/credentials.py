"""Provider credentials at rest: sealed under the installation's encryption keys, or named by a variable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from apps.accounts.mistakes import Mistake


class RouteMistake(Mistake):
    """About routes and their credentials."""


def seal(credential: str) -> str:
    """Encrypt a credential under the newest key."""
    return _fernet(settings.ENVIRONMENT.encryption_keys).encrypt(credential.encode()).decode()


def unseal(sealed: str) -> str:
    """The credential behind `seal`, by whichever of the keys sealed it.

    Raises: RouteMistake, where none of them did.
    """
    try:
        return _fernet(settings.ENVIRONMENT.encryption_keys).decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise RouteMistake("a route's credential was sealed under a key that HYPEREAL_ENCRYPTION_KEYS lacks") from None


def credential_of(*, sealed: str, variable: str, environ: Mapping[str, str] = os.environ) -> str:
    """What a route sends as its credential; empty where it has none, or its variable is not set.

    Raises: RouteMistake.
    """
    return unseal(sealed) if sealed else environ.get(variable, "").strip()


@lru_cache(maxsize=4)
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])
