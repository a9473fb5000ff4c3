"""Canonical usage out of the many shapes that providers of this dialect report."""

from __future__ import annotations

from typing import Any

from apps.core.tokens import TokenUsage
from apps.dialects.common.metering import count, first_count, inclusive_usage, is_nonsense


def read_usage(raw: dict[str, Any]) -> TokenUsage | None:
    """Meter one usage object; None where it does not count both prompt and completion, or less than nothing.

    Shape:  {"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 60}, "completion_tokens": 7}
            -> input 40, cache_read 60, output 7
    Cached and written tokens are parts of the prompt at every provider. They are named `cached_tokens` (OpenAI, Qwen;
    at the top level too: Moonshot), `prompt_cache_hit_tokens` (DeepSeek), `num_cached_tokens` (Mistral);
    `cache_write_tokens` (OpenAI, OpenRouter), `cache_creation_input_tokens` (Qwen).
    """
    if is_nonsense(raw):
        return None
    details = raw.get("prompt_tokens_details")
    hit = count(raw, "prompt_cache_hit_tokens")
    missed = count(raw, "prompt_cache_miss_tokens")
    prompt = count(raw, "prompt_tokens")
    if prompt is None and hit is not None and missed is not None:
        prompt = hit + missed
    completion = count(raw, "completion_tokens")
    total = count(raw, "total_tokens")
    if prompt is None or completion is None:
        return None
    completion_details = raw.get("completion_tokens_details")
    return inclusive_usage(
        prompt=prompt,
        # Some leave hidden reasoning out of the completion but not out of the total (xAI, Gemini's endpoint).
        output=max(completion, (total or 0) - prompt),
        cached=first_count(count(details, "cached_tokens"), hit, count(raw, "cached_tokens", "num_cached_tokens")) or 0,
        written=_written(details),
        reasoning=count(completion_details, "reasoning_tokens") or 0,
        image_input=count(details, "image_tokens") or 0,
        image_output=count(completion_details, "image_tokens") or 0,
    )


def _written(details: object) -> int:
    if not isinstance(details, dict):
        return 0
    return (
        first_count(
            count(details, "cache_write_tokens", "cache_creation_input_tokens"),
            count(details.get("cache_creation"), "ephemeral_5m_input_tokens"),
        )
        or 0
    )


def render_usage(usage: TokenUsage) -> dict[str, Any]:
    """Usage as this dialect shows it, for a caller who asked for it where the upstream's own came elsewhere or not.

    Shape:  input 8, cache_read 60, cache_write_5m 32, output 7  ->  {"prompt_tokens": 100, "prompt_tokens_details":
            {"cached_tokens": 60, "cache_write_tokens": 32}, "completion_tokens": 7, …}
    """
    prompt: dict[str, int] = {"cached_tokens": usage.cache_read}
    written = usage.cache_write_5m + usage.cache_write_1h
    if written:
        prompt["cache_write_tokens"] = written
    if usage.image_input:
        prompt["image_tokens"] = usage.image_input
    completion: dict[str, int] = {"reasoning_tokens": usage.reasoning}
    if usage.image_output:
        completion["image_tokens"] = usage.image_output
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": completion,
    }
