"""Text for a JSON schema's `pattern`: the expression is read and followed, never run.

Running a caller's expression could take for ever; writing what it describes takes as long as the text is.
"""

from __future__ import annotations

import re
from typing import Any, Final

MAX_PATTERN_CHARS: Final = 512
MAX_TEXT_CHARS: Final = 2_000

_PLAIN: Final = "a0-_ A.!~"
"""What stands for a character class, first that fits."""

_CLASSES: Final = {
    "CATEGORY_DIGIT": "0",
    "CATEGORY_WORD": "a",
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_DIGIT": "a",
    "CATEGORY_NOT_WORD": "-",
    "CATEGORY_NOT_SPACE": "a",
}


def example(pattern: str) -> str | None:
    """A text that the expression matches; None where it says something that cannot be followed (look-arounds …)."""
    if len(pattern) > MAX_PATTERN_CHARS:
        return None
    parser: Any = re._parser  # type: ignore[attr-defined]  # the library's own reader of expressions has no public name
    try:
        written = "".join(_write(parser.parse(pattern), left=[MAX_TEXT_CHARS]))
    except (re.error, RecursionError, OverflowError, _CannotFollow):
        return None
    return written


class _CannotFollow(Exception):
    pass


def _write(parsed: Any, *, left: list[int]) -> list[str]:
    """The pieces of text for a parsed sequence; `left` is how many characters may still be written."""
    pieces: list[str] = []
    for operator, argument in parsed:
        match str(operator):
            case "LITERAL":
                pieces.append(chr(argument))
            case "NOT_LITERAL":
                pieces.append("a" if argument != ord("a") else "b")
            case "ANY":
                pieces.append("a")
            case "IN":
                pieces.append(_one_of(argument))
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, _most, body = argument
                for _ in range(least):
                    pieces += _write(body, left=left)
            case "SUBPATTERN":
                pieces += _write(argument[-1], left=left)
            case "BRANCH":
                pieces += _write(argument[1][0], left=left)
            case "AT":
                continue
            case _:
                raise _CannotFollow
        left[0] -= 1
        if left[0] < 0:
            raise _CannotFollow
    return pieces


def _one_of(members: Any) -> str:
    if str(members[0][0]) == "NEGATE":
        return next((char for char in _PLAIN if not any(_holds(member, char) for member in members[1:])), "\u00e9")
    operator, argument = members[0]
    match str(operator):
        case "LITERAL":
            return chr(argument)
        case "RANGE":
            return chr(argument[0])
        case _:
            return _CLASSES[str(argument)]


def _holds(member: Any, char: str) -> bool:
    operator, argument = member
    match str(operator):
        case "LITERAL":
            return ord(char) == int(argument)
        case "RANGE":
            return int(argument[0]) <= ord(char) <= int(argument[1])
    category = str(argument).removeprefix("CATEGORY_")
    is_member = {
        "DIGIT": char.isdigit(),
        "WORD": char.isalnum() or char == "_",
        "SPACE": char.isspace(),
    }[category.removeprefix("NOT_")]
    return is_member != category.startswith("NOT_")
