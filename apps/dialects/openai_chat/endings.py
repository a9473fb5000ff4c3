"""Why an answer ended, in chat's words: both ways."""

from __future__ import annotations

from typing import Any, Final

from apps.dialects.hub.answer import Ending, StopReason

REASONS: Final[dict[str, StopReason]] = {
    "stop": "end",
    "length": "length",
    "tool_calls": "tools",
    "function_call": "tools",
    "content_filter": "filtered",
    # Words of providers that only resemble the protocol.
    "end_turn": "end",
    "eos": "end",
    "max_tokens": "length",
    "model_length": "length",
    "tool_use": "tools",
    "sensitive": "filtered",
    "refusal": "refusal",
}
NATIVE: Final[dict[str, StopReason]] = {
    "stop_sequence": "stop_sequence",
    "pause_turn": "pause",
    "refusal": "refusal",
}
"""What routers and we say in `native_finish_reason`, where it says more than `finish_reason` can."""

WORDS: Final[dict[StopReason, str]] = {
    "end": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tools": "tool_calls",
    "filtered": "content_filter",
    "pause": "stop",
    "other": "stop",
}


def read_ending(finish_reason: str, *, has_calls: bool, has_refusal: bool, native: str = "") -> Ending:
    """`stop` also ends an answer that calls tools (Gemini's endpoint), and one that was refused (structured output)."""
    reason = REASONS.get(finish_reason, "other")
    if reason in ("end", "filtered"):
        reason = NATIVE.get(native, reason)
    if reason == "end" and has_refusal:
        reason = "refusal"
    elif reason in ("end", "other") and has_calls:
        reason = "tools"
    return Ending(reason, native=native or finish_reason)


def write_ending(ending: Ending, *, has_calls: bool, has_refusal: bool, has_text: bool = False) -> dict[str, Any]:
    """`finish_reason`; where chat has no word for it, `native_finish_reason` says the upstream's own beside it.

    A refusal in place of an answer ends with `stop`, as OpenAI's do; one that broke an answer off is a filter's cut.
    """
    reason = ending.reason
    if reason == "refusal":
        return _with_native("stop" if has_refusal and not has_text else "content_filter", ending)
    if reason == "other" and has_calls:
        return _with_native("tool_calls", ending)
    if reason in ("stop_sequence", "pause", "other"):
        return _with_native(WORDS[reason], ending)
    return {"finish_reason": WORDS[reason]}


def _with_native(word: str, ending: Ending) -> dict[str, Any]:
    return {"finish_reason": word, "native_finish_reason": ending.native or ending.reason}


def explanation_of(ending: Ending) -> str:
    """Why a model refused, where the upstream says so beside the answer (Messages' `stop_details`)."""
    details = ending.details if ending.reason == "refusal" else None
    explanation = details.get("explanation") if isinstance(details, dict) else None
    return explanation if isinstance(explanation, str) else ""
