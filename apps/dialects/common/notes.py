"""What was changed on a request's way, as short lines: they travel in one header and stand on one usage record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MAX_NOTES: Final = 24
MAX_NOTE_CHARS: Final = 100


def fit(line: str) -> str:
    """The line, cut, in characters that a header can carry and a list with commas can hold: it may quote a caller."""
    return "".join(char if " " <= char <= "~" and char != "," else "?" for char in line[:MAX_NOTE_CHARS])


def fit_all(lines: Iterable[str]) -> tuple[str, ...]:
    """Each line once, as many as a header has room for."""
    fitting: dict[str, None] = {}
    for line in lines:
        if len(fitting) == MAX_NOTES:
            break
        fitting[fit(line)] = None
    return tuple(fitting)
