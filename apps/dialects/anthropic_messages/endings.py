"""Why an answer ended, in Messages' words: both ways."""

from __future__ import annotations

from typing import Any, Final

from apps.dialects.hub.answer import Ending, StopReason

_READ: Final[dict[str, StopReason]] = {
    "end_turn": "end",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tools",
    "refusal": "refusal",
    "pause_turn": "pause",
}
_WRITTEN: Final[dict[StopReason, str]] = {
    "end": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tools": "tool_use",
    "refusal": "refusal",
    "filtered": "refusal",
    "pause": "pause_turn",
}

CUT_SHORT: Final = Ending("length")
"""How a stream ends that we, not the upstream, stopped."""


def read_ending(stop_reason: str | None, stop_sequence: str | None, details: Any) -> Ending:
    """Unknown reasons are kept by their own name, never taken for a natural end."""
    native = stop_reason or ""
    reason = _READ.get(native, "other") if native else "end"
    return Ending(reason, stop_sequence or "", native, details)


def write_ending(ending: Ending, *, refusal: str, has_calls: bool) -> dict[str, Any]:
    """`stop_reason`, `stop_sequence`, and `stop_details` of a refusal. A pending call is never lost behind a natural
    end, and a refusal (its text in `refusal`) never looks like one."""
    reason: str
    if ending.reason == "other":
        reason = ending.native or "end_turn"
    else:
        reason = _WRITTEN[ending.reason]
    if refusal and reason == "end_turn":
        reason = "refusal"
    if has_calls and reason == "end_turn":
        reason = "tool_use"
    written: dict[str, Any] = {"stop_reason": reason, "stop_sequence": ending.stop_sequence or None}
    if reason == "refusal":
        details = ending.details if isinstance(ending.details, dict) else None
        written["stop_details"] = details or {"type": "refusal", "category": None, "explanation": refusal or None}
    return written
