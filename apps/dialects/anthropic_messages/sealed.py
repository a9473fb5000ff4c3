"""Thinking blocks and their seals: both ways.

Shape:  {"type": "thinking", "thinking": "…", "signature": "EqQB…"}   Anthropic's own
        {"type": "thinking", "thinking": "…", "signature": "hypereal.openai.encrypted~rs_1.gAAA…"}   another family's
        {"type": "thinking", "thinking": "…", "signature": "hypereal.chat.signature."}   text that nobody sealed
        {"type": "redacted_thinking", "data": "…"}   the reasoning itself, encrypted, without any text
"""

from __future__ import annotations

from typing import Any, Final

from apps.dialects.hub.conversation import Thinking
from apps.dialects.hub.reasoning import ANTHROPIC, CHAT, ENCRYPTED, SIGNATURE, Seal, unwrap, wrap

UNSIGNED: Final = wrap(Seal(CHAT, SIGNATURE, ""))
"""Stands for a signature: Anthropic refuses thinking without one, so these blocks must be known again."""


def read_signature(signature: str) -> Seal | None:
    if not signature or signature == UNSIGNED:
        return None
    return unwrap(signature) or Seal(ANTHROPIC, SIGNATURE, signature)


def read_redacted(data: str) -> Seal | None:
    if not data:
        return None
    return unwrap(data) or Seal(ANTHROPIC, ENCRYPTED, data)


def signed(signature: str) -> Seal | None:
    """The seal of thinking that an upstream sent: whatever it says there, it wants to have it back."""
    return Seal(ANTHROPIC, SIGNATURE, signature) if signature else None


def write_signature(seal: Seal | None) -> str:
    """What stands in `signature`: Anthropic's own verbatim, everything else wrapped."""
    if seal is None:
        return UNSIGNED
    return seal.payload if (seal.family, seal.kind) == (ANTHROPIC, SIGNATURE) else wrap(seal)


def write_redacted(seal: Seal) -> str:
    """What stands in `data`."""
    return seal.payload if (seal.family, seal.kind) == (ANTHROPIC, ENCRYPTED) else wrap(seal)


def thinking_block(thinking: Thinking) -> dict[str, Any] | None:
    """The block; None for a thought that says nothing and is sealed by nobody."""
    seal = thinking.seal
    if not thinking.text:
        if seal is None:
            return None
        if seal.kind == ENCRYPTED:
            return {"type": "redacted_thinking", "data": write_redacted(seal)}
    return {"type": "thinking", "thinking": thinking.text, "signature": write_signature(seal)}


def upstream_block(thinking: Thinking) -> dict[str, Any] | None:
    """The block as it goes upstream; None for what Anthropic did not seal: it would refuse the whole request."""
    seal = thinking.seal
    if seal is None or seal.family != ANTHROPIC:
        return None
    if seal.kind == ENCRYPTED:
        return {"type": "redacted_thinking", "data": seal.payload}
    return {"type": "thinking", "thinking": thinking.text, "signature": seal.payload}
