"""The simulator's tokenizer: four UTF-8 bytes are one token. Small, exact and the same on every machine."""

from __future__ import annotations

from typing import Final

BYTES_PER_TOKEN: Final = 4


def of_bytes(size: int) -> int:
    """Tokens of so many bytes, a started token counted whole."""
    return -(-size // BYTES_PER_TOKEN)


def count(text: str) -> int:
    # An ASCII string knows its length in bytes without being encoded.
    return of_bytes(len(text) if text.isascii() else len(text.encode()))


def cut(text: str, most: int) -> str:
    """The longest beginning of `text` that is at most `most` tokens and whole characters."""
    if text.isascii():
        return text[: most * BYTES_PER_TOKEN]
    return text.encode()[: most * BYTES_PER_TOKEN].decode(errors="ignore")
