"""Canonical usage out of a Responses `usage` object."""

from __future__ import annotations

from typing import Any

from apps.core.tokens import TokenUsage
from apps.dialects.common.metering import count, inclusive_usage, is_nonsense


def read_usage(raw: object) -> TokenUsage | None:
    """Meter one usage object; None where it does not count both input and output, or less than nothing.

    Shape:  {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 60}, "output_tokens": 7}
            -> input 40, cache_read 60, output 7
    Input includes cached and written tokens, output includes reasoning, at every provider.
    """
    prompt = count(raw, "input_tokens")
    output = count(raw, "output_tokens")
    if not isinstance(raw, dict) or prompt is None or output is None or is_nonsense(raw):
        return None
    details = raw.get("input_tokens_details")
    output_details = raw.get("output_tokens_details")
    return inclusive_usage(
        prompt=prompt,
        output=output,
        cached=count(details, "cached_tokens") or 0,
        written=count(details, "cache_write_tokens") or 0,
        reasoning=count(output_details, "reasoning_tokens") or 0,
        image_input=count(details, "image_tokens") or 0,
        image_output=count(output_details, "image_tokens") or 0,
    )


def render_usage(usage: TokenUsage) -> dict[str, Any]:
    """Usage as this dialect shows it, for a reply whose own never came."""
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }
