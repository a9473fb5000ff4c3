"""Why a candidate ended, in the hub's words."""

from __future__ import annotations

from typing import Final

from apps.dialects.hub.answer import Ending, StopReason

_NUMBERED: Final = (
    "FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "BLOCKLIST",
    "PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "MODEL_ARMOR",
)  # fmt: skip
"""Vertex may say a number in place of the word."""

_REASONS: Final[dict[str, StopReason]] = {
    "STOP": "end",
    "MAX_TOKENS": "length",
    "SAFETY": "filtered",
    "RECITATION": "filtered",
    "BLOCKLIST": "filtered",
    "PROHIBITED_CONTENT": "filtered",
    "SPII": "filtered",
    "MODEL_ARMOR": "filtered",
    "IMAGE_SAFETY": "filtered",
    "IMAGE_PROHIBITED_CONTENT": "filtered",
    "IMAGE_RECITATION": "filtered",
}


def read_ending(finish_reason: object, *, has_calls: bool) -> Ending:
    """`STOP` also ends an answer whose calls are pending. What we have no word for keeps its own."""
    word = str(finish_reason)
    if type(finish_reason) is int and 0 <= finish_reason < len(_NUMBERED):
        word = _NUMBERED[finish_reason]
    reason = _REASONS.get(word, "other")
    if reason == "end" and has_calls:
        reason = "tools"
    return Ending(reason, native=word)


def blocked(block_reason: object) -> Ending:
    """The prompt was refused before a word was answered (`promptFeedback.blockReason`)."""
    return Ending("filtered", native=str(block_reason))
