"""Canonical usage out of `usageMetadata`."""

from __future__ import annotations

from typing import Any, Final

from apps.core.tokens import TokenUsage
from apps.dialects.common.metering import count, inclusive_usage, is_nonsense, members

_IMAGE: Final = ("IMAGE", 2)
"""The modality as a word, or as Vertex numbers it."""


def read_usage(raw: object) -> TokenUsage | None:
    """Meter one `usageMetadata`; None where it counts nothing, or less than nothing.

    Shape:  {"promptTokenCount": 100, "cachedContentTokenCount": 60, "toolUsePromptTokenCount": 5,
             "candidatesTokenCount": 7, "thoughtsTokenCount": 20, "totalTokenCount": 132}
            -> input 45, cache_read 60, output 27 (reasoning 20)
    The prompt includes what was cached, not what tools read; the candidates leave thoughts out. Details may list only
    one modality, and an answer that was cut in its thoughts has no candidates' count.
    """
    if not isinstance(raw, dict) or is_nonsense(raw):
        return None
    prompt = count(raw, "promptTokenCount")
    if prompt is None:
        return None
    prompt += count(raw, "toolUsePromptTokenCount") or 0
    thoughts = count(raw, "thoughtsTokenCount") or 0
    said = (count(raw, "candidatesTokenCount") or 0) + thoughts
    total = count(raw, "totalTokenCount") or 0
    return inclusive_usage(
        prompt=prompt,
        output=max(said, total - prompt),
        cached=count(raw, "cachedContentTokenCount") or 0,
        written=0,
        reasoning=thoughts,
        image_input=_images(raw, "promptTokensDetails"),
        image_output=_images(raw, "candidatesTokensDetails"),
    )


def _images(raw: dict[str, Any], name: str) -> int:
    found = (entry for entry in members(raw, name) if isinstance(entry, dict) and entry.get("modality") in _IMAGE)
    return sum(count(entry, "tokenCount") or 0 for entry in found)
