"""Tell that an upstream refused a request for the reasoning of earlier answers in it: another retry goes without."""

from __future__ import annotations

from typing import Final

_MARKS: Final = (
    b"invalid_encrypted_content",
    b"Invalid `signature`",
    b"type 'reasoning' was provided without",
    b"Item with id 'rs_",
    b"Thought signature is not valid",
    b"Corrupted thought signature",
)
"""What providers say of sealed reasoning that another account of theirs made, that is too old, or that was cut."""


def is_stale_reasoning(error: bytes) -> bool:
    return any(mark in error for mark in _MARKS)
