"""Canonical usage out of an image reply's `usage` object."""

from __future__ import annotations

from apps.core.tokens import TokenUsage
from apps.dialects.common.metering import count, first_count, inclusive_usage, is_nonsense


def read_usage(raw: object) -> TokenUsage | None:
    """Meter one usage object; None where it counts no output, or less than nothing.

    Shape:  {"input_tokens": 50, "input_tokens_details": {"text_tokens": 10, "image_tokens": 40}, "output_tokens": 4160}
            -> input 50 (image_input 40), output 4160 (image_output 4160)
    Where the output is not broken down, all of it is image tokens.
    """
    prompt = count(raw, "input_tokens")
    output = count(raw, "output_tokens")
    if not isinstance(raw, dict) or output is None or is_nonsense(raw):
        return None
    details = raw.get("input_tokens_details")
    output_details = raw.get("output_tokens_details")
    text_output = count(output_details, "text_tokens") or 0
    return inclusive_usage(
        prompt=prompt or 0,
        output=output,
        cached=count(details, "cached_tokens") or 0,
        written=0,
        reasoning=0,
        image_input=count(details, "image_tokens") or 0,
        image_output=first_count(count(output_details, "image_tokens"), max(0, output - text_output)) or 0,
    )
