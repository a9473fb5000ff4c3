"""How much a model may think, as a Messages upstream wants to be told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from apps.dialects.hub.abilities import change, leave_out
from apps.dialects.hub.conversation import Conversation
from apps.dialects.hub.effort import budget_of, effort_of, nearest_effort

MIN_BUDGET: Final = 1_024
"""The protocol takes no smaller one, and it must be below `max_tokens`."""

_EFFORTS: Final = ("low", "medium", "high", "max")
_VERSION: Final = re.compile(r"claude\D*?(\d+)(?:[.-](\d{1,2}))?(?!\d)")
_ADAPTIVE_SINCE: Final = (4, 6)
_WITHOUT_BUDGETS_SINCE: Final = (4, 7)


@dataclass(frozen=True, slots=True)
class Wanted:
    """`thinking` and `output_config.effort`; empty where nothing is said about them."""

    thinking: dict[str, Any] | None = None
    effort: str = ""

    @property
    def is_on(self) -> bool:
        return self.thinking is not None and self.thinking["type"] != "disabled"


_SILENT: Final = Wanted()


def write_thinking(
    conversation: Conversation, *, upstream_model: str, max_tokens: int, is_forced: bool, is_unsigned: bool
) -> Wanted:
    """What to ask for.

    is_forced: a tool has to be called. is_unsigned: results of tools follow an answer whose thinking did not come back.
    Both are refused together with a budget of thinking; the newer adaptive thinking takes them.
    """
    asked = conversation.reasoning
    if asked.is_on is False or asked.effort == "none":
        return Wanted({"type": "disabled"})
    if asked.is_on is None and not asked.effort and not asked.budget_tokens:
        return _SILENT
    version = version_of(upstream_model)
    if version >= _WITHOUT_BUDGETS_SINCE or (version >= _ADAPTIVE_SINCE and not asked.budget_tokens):
        return _adaptive(conversation, version)
    if is_forced or is_unsigned or max_tokens <= MIN_BUDGET:
        leave_out(conversation, "reasoning")
        return _SILENT
    budget = asked.budget_tokens or min(budget_of(asked.effort or "medium"), max(MIN_BUDGET, max_tokens // 2))
    fitting = min(max(budget, MIN_BUDGET), max_tokens - 1)
    if asked.budget_tokens is not None and fitting != asked.budget_tokens:
        change(conversation, "reasoning", asked.budget_tokens, fitting)
    thinking: dict[str, Any] = {"type": "enabled", "budget_tokens": fitting}
    if asked.summary == "omitted":
        thinking["display"] = "omitted"
    return Wanted(thinking)


def version_of(upstream_model: str) -> tuple[int, int]:
    """Claude's version by its name; (0, 0) for a model of another family behind the same protocol.

    Shape:  claude-opus-4-8 -> (4, 8), anthropic/claude-3.7-sonnet -> (3, 7), claude-sonnet-4-20250514 -> (4, 0)
    """
    found = _VERSION.search(upstream_model.lower())
    return (0, 0) if found is None else (int(found[1]), int(found[2] or 0))


def _adaptive(conversation: Conversation, version: tuple[int, int]) -> Wanted:
    asked = conversation.reasoning
    effort = asked.effort or (effort_of(asked.budget_tokens) if asked.budget_tokens else "")
    known = _EFFORTS if version < _WITHOUT_BUDGETS_SINCE else (*_EFFORTS, "xhigh")
    nearest = nearest_effort(effort, known)
    if nearest != asked.effort:
        change(conversation, "reasoning", asked.effort or asked.budget_tokens, nearest)
    display = "omitted" if asked.summary == "omitted" else "summarized"
    return Wanted({"type": "adaptive", "display": display}, nearest)
