"""How an answer is drawn, as far as a Messages upstream leaves a choice.

Source: platform.claude.com/docs, "Extended thinking" and "What's new in Claude 4.7", read 2026-11; what servers refuse.
"""

from __future__ import annotations

from typing import Any, Final

from apps.dialects.anthropic_messages.thinking import version_of
from apps.dialects.hub.abilities import clamp, leave_out
from apps.dialects.hub.conversation import Conversation

MIN_TOP_P_THINKING: Final = 0.95
ONE_OF_TWO_SINCE: Final = (4, 1)
"""Claude models from here on refuse `temperature` and `top_p` together."""
DRAWS_ALONE_SINCE: Final = {"opus": (4, 7)}
"""Families whose models from here on refuse all three but for a temperature of 1."""
ALL_DRAW_ALONE_SINCE: Final = (5, 0)


def write_sampling(conversation: Conversation, *, upstream_model: str, is_thinking: bool) -> dict[str, Any]:
    """`temperature`, `top_p` and `top_k`, where the model takes them; what it would refuse is left out and named."""
    tuning = conversation.tuning
    if _draws_alone(upstream_model):
        return _kept(conversation, temperature=tuning.temperature == 1, top_p=False, top_k=False)
    if is_thinking:
        wide = (tuning.top_p or 0) >= MIN_TOP_P_THINKING
        return _kept(conversation, temperature=tuning.temperature == 1, top_p=wide, top_k=False)
    values = {"temperature": clamp(conversation, "temperature", most=1), "top_p": tuning.top_p, "top_k": tuning.top_k}
    fields = {name: value for name, value in values.items() if value is not None}
    if version_of(upstream_model) >= ONE_OF_TWO_SINCE and "temperature" in fields and "top_p" in fields:
        _choose_one(conversation, fields)
    return fields


def _draws_alone(upstream_model: str) -> bool:
    version = version_of(upstream_model)
    families = (since for family, since in DRAWS_ALONE_SINCE.items() if family in upstream_model.lower())
    return version >= min((*families, ALL_DRAW_ALONE_SINCE))


def _kept(conversation: Conversation, **keeps: bool) -> dict[str, Any]:
    """Those values that may stay."""
    fields = {}
    for name, may_stay in keeps.items():
        value = getattr(conversation.tuning, name)
        if value is None:
            continue
        if may_stay:
            fields[name] = value
        else:
            leave_out(conversation, name)
    return fields


def _choose_one(conversation: Conversation, fields: dict[str, Any]) -> None:
    """Of two that are given, the one that says something: 1 is what both are without being given."""
    if fields["temperature"] == 1:
        del fields["temperature"]
    elif fields.pop("top_p") != 1:
        leave_out(conversation, "top_p")
