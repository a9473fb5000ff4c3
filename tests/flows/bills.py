"""What a call must cost, worked out again from the prices that people read, in exact fractions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

_CATALOG: Final = json.loads(
    (Path(__file__).resolve().parents[2] / "apps/catalog/catalog.json").read_text(), parse_float=Decimal
)
MODELS: Final[dict[str, dict[str, Any]]] = {model["id"]: model for model in _CATALOG["models"]}
_MICRO_PER_USD: Final = 100 * 1_000_000
"""A dollar is a hundred credits of a million microcredits."""


def price(model_id: str, meter: str) -> Fraction:
    """Microcredits per token, as the catalog file's dollars say."""
    return Fraction(MODELS[model_id]["usd_per_million_tokens"][meter]) * _MICRO_PER_USD / 1_000_000


def bill(
    model_id: str, *, input: int, output: int, cache_read: int = 0, cache_write_5m: int = 0, cache_write_1h: int = 0
) -> Decimal:
    """The charge in credits: the exact sum, rounded up once to a whole microcredit."""
    exact = input * price(model_id, "input") + output * price(model_id, "output")
    if cache_read:
        exact += cache_read * price(model_id, "cache_read")
    if cache_write_5m:
        exact += cache_write_5m * price(model_id, "cache_write")
    if cache_write_1h:
        exact += cache_write_1h * 2 * price(model_id, "input")
    return Decimal(-(-exact.numerator // exact.denominator)) / 1_000_000


def bill_of_buckets(model_id: str, usage: Mapping[str, int]) -> Decimal:
    """The same from the buckets of a recording. A meter without a price costs what its parent does."""
    usd = MODELS[model_id]["usd_per_million_tokens"]
    written = "cache_write" if usd.get("cache_write") else "input"
    per_token = {
        "input_uncached": price(model_id, "input"),
        "cache_read": price(model_id, "cache_read" if usd.get("cache_read") else "input"),
        "cache_write_5m": price(model_id, written),
        "cache_write_1h": price(model_id, "input") * (2 if usd.get("cache_write") else 1),
        "output": price(model_id, "output"),
    }
    exact = sum((usage[bucket] * micro for bucket, micro in per_token.items()), Fraction())
    return Decimal(-(-exact.numerator // exact.denominator)) / 1_000_000


def bill_of_reply(model_id: str, usage: dict[str, Any]) -> Decimal:
    """The same from the usage object of a reply, in whichever dialect it is."""
    if "prompt_tokens" in usage:  # chat: the prompt includes what was cached
        details = usage.get("prompt_tokens_details") or {}
        cached, written = details.get("cached_tokens", 0), details.get("cache_write_tokens", 0)
        return bill(
            model_id,
            input=usage["prompt_tokens"] - cached - written,
            output=usage["completion_tokens"],
            cache_read=cached,
            cache_write_5m=written,
        )
    if "cache_read_input_tokens" in usage:  # messages: every bucket stands for itself
        split = usage.get("cache_creation") or {}
        written_1h = split.get("ephemeral_1h_input_tokens", 0)
        return bill(
            model_id,
            input=usage["input_tokens"],
            output=usage["output_tokens"],
            cache_read=usage["cache_read_input_tokens"],
            cache_write_5m=usage["cache_creation_input_tokens"] - written_1h,
            cache_write_1h=written_1h,
        )
    details = usage.get("input_tokens_details") or {}  # responses and images
    cached = details.get("cached_tokens", 0)
    return bill(model_id, input=usage["input_tokens"] - cached, output=usage["output_tokens"], cache_read=cached)
