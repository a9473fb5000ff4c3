"""How much a model may think, between dialects that count tokens and those that name a level."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""From least to most."""

BUDGETS: Final = {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 32_768, "max": 65_536}
"""Tokens that stand for a level where the target counts them."""


def nearest_effort(effort: str, known: Collection[str]) -> str:
    """The level of `known` that is closest to `effort`, the lower one of two. An unknown word stays as it is."""
    if effort in known or effort not in EFFORTS:
        return effort
    at = EFFORTS.index(effort)
    return min((level for level in EFFORTS if level in known), key=lambda level: abs(EFFORTS.index(level) - at))


def effort_of(budget_tokens: int) -> str:
    """The level whose budget covers so many tokens."""
    if budget_tokens <= 0:
        return "none"
    return next((level for level, tokens in BUDGETS.items() if budget_tokens <= tokens), "max")


def budget_of(effort: str) -> int:
    """Tokens of thinking for a level; 0 for `none`, medium's for a word nobody knows."""
    return 0 if effort == "none" else BUDGETS.get(effort, BUDGETS["medium"])
