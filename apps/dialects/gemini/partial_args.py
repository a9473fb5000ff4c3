"""Arguments of a call that come value by value, each at its path.

Shape:  {"jsonPath": "$.to[0].city", "stringValue": "Bos", "willContinue": true}, {"jsonPath": "$.to[0].city",
        "stringValue": "ton"}  ->  {"to": [{"city": "Boston"}]}
Source: provider's reference of streamed function call arguments, read 2026-11.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Final

_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[['\"]([^'\"]*)['\"]\]")
_VALUES: Final = ("numberValue", "boolValue", "nullValue")
MAX_ELEMENTS: Final = 10_000
"""Of one list: an index beyond it is left out."""


def add_partial(arguments: dict[str, Any], entry: dict[str, Any]) -> None:
    """Put one value into its place; text goes on with what is there already."""
    path = entry.get("jsonPath")
    steps = [_step(found) for found in _STEP.finditer(path)] if isinstance(path, str) else []
    if not steps or not isinstance(steps[0], str):
        return
    holder: Any = arguments
    for step, following in pairwise(steps):
        holder = _enter(holder, step, [] if isinstance(following, int) else {})
        if holder is None:
            return
    text = entry.get("stringValue")
    if isinstance(text, str):
        before = _enter(holder, steps[-1], "")
        _put(holder, steps[-1], (before if isinstance(before, str) else "") + text)
        return
    name = next((name for name in _VALUES if name in entry), None)
    if name is not None:
        _put(holder, steps[-1], None if name == "nullValue" else entry[name])


def _step(found: re.Match[str]) -> str | int:
    if found[2] is not None:
        return int(found[2])
    return found[1] if found[1] is not None else found[3]


def _enter(holder: Any, step: str | int, empty: Any) -> Any:
    """What stands at that step, made where nothing does; None where the step does not fit."""
    if isinstance(holder, dict) and isinstance(step, str):
        return holder.setdefault(step, empty)
    if isinstance(holder, list) and isinstance(step, int) and step < MAX_ELEMENTS:
        if step >= len(holder):
            holder += [None] * (step + 1 - len(holder))
        if holder[step] is None:
            holder[step] = empty
        return holder[step]
    return None


def _put(holder: Any, step: str | int, value: Any) -> None:
    if _enter(holder, step, value) is not None or isinstance(holder, dict):
        holder[step] = value
