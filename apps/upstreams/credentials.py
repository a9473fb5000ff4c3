"""Provider credentials at rest: sealed under the installation's encryption keys, or named by a variable or a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from apps.upstreams.credential_files import read_file
from apps.upstreams.credential_text import RouteMistake


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


def is_newest(sealed: str) -> bool:
    """Whether the newest key sealed it."""
    try:
        Fernet(settings.ENVIRONMENT.encryption_keys[0]).decrypt(sealed.encode())
    except InvalidToken:
        return False
    return True


def credential_of(*, sealed: str, variable: str, file: str = "", environ: Mapping[str, str] = os.environ) -> str:
    """What a route sends as its credential; empty where it has none, its variable is not set, or its file not there.

    Raises: RouteMistake.
    """
    if sealed:
        return unseal(sealed)
    return read_file(file) if file else environ.get(variable, "").strip()


@lru_cache(maxsize=4)
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])
