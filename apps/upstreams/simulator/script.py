"""Tool calls that a prompt scripts, to lead a coding agent through a whole task:

    Write a note. [[call Write {"file_path": "note.txt", "content": "one"}]] [[call Read {"file_path": "note.txt"}]]

One of them is made per turn, in order, whatever the agent says in between; then the answer is text. Without arguments,
they are made up from the tool's schema, as for a tool that the prompt asks for in words.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

MAX_STEPS: Final = 50
_STEP: Final = re.compile(r"\[\[call ([\w.:/-]{1,128})\s*")
_END: Final = re.compile(r"\s*\]\]")
_decoder: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Step:
    tool: str
    arguments: dict[str, Any] | None


def read(text: str) -> tuple[Step, ...]:
    """The steps that a text scripts; what is malformed is none."""
    return tuple(step for step, _, _ in _find(text))


def remove(text: str) -> str:
    """The text without its steps."""
    for _, start, end in reversed(_find(text)):
        text = text[:start] + text[end:]
    return text.strip()


def _find(text: str) -> list[tuple[Step, int, int]]:
    if "[[call " not in text:
        return []
    found: list[tuple[Step, int, int]] = []
    for match in _STEP.finditer(text):
        arguments, end = None, match.end()
        if text.startswith("{", end):
            try:
                arguments, end = _decoder.raw_decode(text, end)
            except (ValueError, RecursionError):
                continue
        closing = _END.match(text, end)
        if closing is not None and len(found) < MAX_STEPS:
            found.append((Step(match[1], arguments), match.start(), closing.end()))
    return found
