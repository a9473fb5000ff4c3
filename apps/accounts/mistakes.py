"""What an operator asked for and cannot have: one clear line, for a terminal or beside a form field."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

POSITIVE_INTEGER_MAX: Final = 2**31 - 1
"""What a PositiveIntegerField holds on every backend."""
BIG_INTEGER_MAX: Final = 2**53 - 1
"""Largest figure we take for a wide column: exact in a BIGINT and in a JSON number."""


class Mistake(ValueError):
    """The request does not add up. Each app derives its own; the message is one line."""


class AccountMistake(Mistake):
    """About accounts and the people of them."""


def clean_line(text: str, what: str, *, most: int) -> str:
    """Return `text` without outer spaces.

    Raises: Mistake, where it is empty, longer than `most` characters, or has characters that do not print.
    """
    line = text.strip()
    if not line:
        raise Mistake(f"{what} is empty")
    if len(line) > most:
        raise Mistake(f"{what} is longer than {most} characters")
    if not line.isprintable():
        raise Mistake(f"{what} has characters that do not print")
    return line


def check_range(value: int | None, what: str, *, least: int = 1, most: int = POSITIVE_INTEGER_MAX) -> int | None:
    """Return `value`; None, where it stands for "no such limit", passes.

    Raises: Mistake.
    """
    if value is not None and not least <= value <= most:
        raise Mistake(f"{what} must be from {least} to {most}, not {value}")
    return value


def check_choice(value: str, what: str, choices: Iterable[str]) -> str:
    """Return `value`, one of `choices`.

    Raises: Mistake, which lists them.
    """
    known = list(choices)
    if value not in known:
        raise Mistake(f"{what} is {value!r}: use one of {', '.join(known)}")
    return value
