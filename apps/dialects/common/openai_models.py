"""What OpenAI's models take, told by their names: they refuse whole requests for a parameter that one of them lacks.

Source: OpenAI's model pages and recorded refusals. A name that is not known here is believed to take everything.
"""

from __future__ import annotations

import re
from typing import Final

_REASONER: Final = re.compile(r"(?<![a-z0-9])(?:o[1-9]|gpt-?(?:[5-9]|[1-9]\d))(?![a-z0-9])(?!-chat)")
_PLAIN: Final = re.compile(r"(?<![a-z0-9])(?:gpt-?[34]|chatgpt)")
_GROK: Final = re.compile(r"(?<![a-z0-9])grok-")
_VERSION: Final = re.compile(r"gpt-?(\d+)(?:[.-](\d)(?!\d))?")
_SPEAKS_RAW: Final = ("gpt-oss", "deepseek", "qwen", "kimi", "glm", "minimax")

_O_SERIES: Final = ("low", "medium", "high")
_EFFORTS: Final = (
    ((5, 6), ("none", "low", "medium", "high", "xhigh", "max")),
    ((5, 2), ("none", "low", "medium", "high", "xhigh")),
    ((5, 1), ("none", "low", "medium", "high")),
    ((5, 0), ("minimal", "low", "medium", "high")),
)


def is_reasoner(upstream_model: str) -> bool:
    """One of OpenAI's reasoning models: samples at temperature 1 only, and keeps its reasoning encrypted."""
    return _REASONER.search(upstream_model.lower()) is not None


def is_plain(upstream_model: str) -> bool:
    """One of OpenAI's models that do not reason, and refuse to be asked to."""
    return _PLAIN.search(upstream_model.lower()) is not None


def seals_reasoning(upstream_model: str) -> bool:
    """Whether it hands out encrypted reasoning where it is asked to."""
    return is_reasoner(upstream_model) or _GROK.search(upstream_model.lower()) is not None


def speaks_reasoning(upstream_model: str) -> bool:
    """Whether it shows its reasoning as plain text, and wants it back as such."""
    name = upstream_model.lower()
    return any(family in name for family in _SPEAKS_RAW)


def knows_custom_tools(upstream_model: str) -> bool:
    """Whether it takes tools of free text."""
    name = upstream_model.lower()
    return not (is_plain(name) or speaks_reasoning(name) or _GROK.search(name) is not None)


def efforts_of(upstream_model: str) -> tuple[str, ...] | None:
    """The levels of effort that it knows; None: whatever it is asked for."""
    if not is_reasoner(upstream_model):
        return None
    version = version_of(upstream_model)
    if version is None:
        return _O_SERIES
    return next((efforts for least, efforts in _EFFORTS if version >= least), None)


def marks_cache(upstream_model: str) -> bool:
    """Whether it takes cache breakpoints in its content (from 5.6 on); others cache by themselves."""
    version = version_of(upstream_model)
    return version is not None and version >= (5, 6)


def version_of(upstream_model: str) -> tuple[int, int] | None:
    """`gpt-5.6-mini` is (5, 6), `gpt-5-2026-08-07` is (5, 0)."""
    found = _VERSION.search(upstream_model.lower())
    return (int(found[1]), int(found[2] or 0)) if found else None
