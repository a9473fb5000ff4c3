"""What a credential looks like, wherever it comes from."""

from __future__ import annotations

from typing import Final

from apps.accounts.mistakes import Mistake

MAX_BYTES: Final = 8_192


class RouteMistake(Mistake):
    """About routes and their credentials."""


def check_credential(data: bytes | str) -> str:
    """Return a credential without the white space around it; it may be empty.

    Raises: RouteMistake, which never shows it.
    """
    text = data.decode("latin-1") if isinstance(data, bytes) else data
    text = text.strip()
    if len(text) > MAX_BYTES:
        raise RouteMistake(f"a credential has at most {MAX_BYTES} bytes")
    if not text.isascii() or not (text.isprintable() or not text) or " " in text:
        raise RouteMistake("a credential has no spaces and only printable ASCII characters")
    return text
