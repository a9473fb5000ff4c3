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
    if reason == "end" and has_refusal:
        reason = "refusal"
    elif reason in ("end", "other") and has_calls:
        reason = "tools"
    return Ending(reason, native=native or finish_reason)


def write_ending(ending: Ending, *, has_calls: bool, has_refusal: bool) -> dict[str, Any]:
    """`finish_reason`; where chat has no word for it, `native_finish_reason` says the upstream's own beside it."""
    reason = ending.reason
    if reason == "refusal":
        return _with_native("stop" if has_refusal else "content_filter", ending)
    if reason == "other" and has_calls:
        return _with_native("tool_calls", ending)
    if reason in ("stop_sequence", "pause", "other"):
        return _with_native(WORDS[reason], ending)
    return {"finish_reason": WORDS[reason]}


def _with_native(word: str, ending: Ending) -> dict[str, Any]:
    return {"finish_reason": word, "native_finish_reason": ending.native or ending.reason}
