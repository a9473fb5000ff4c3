"""Read counts that a provider reports, and measure what it sent where it reports none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from apps.core.tokens import TokenUsage

MAX_REPORTED: Final = 2**53 - 1
"""Larger counts are cut to this: what every JSON reader and BIGINT holds exactly."""


def count(holder: object, *names: str) -> int | None:
    """The first of these counts that is there. Only JSON integers are counts; a negative one is 0."""
    if not isinstance(holder, dict):
        return None
    for name in names:
        value = holder.get(name)
        if type(value) is int:
            return value if 0 <= value <= MAX_REPORTED else min(max(value, 0), MAX_REPORTED)
    return None


def first_count(*counts: int | None) -> int | None:
    return next((value for value in counts if value is not None), None)


def inclusive_usage(
    *, prompt: int, output: int, cached: int, written: int, reasoning: int, image_input: int = 0, image_output: int = 0
) -> TokenUsage:
    """Canonical usage out of OpenAI-style counts, where cached and written tokens are parts of the prompt and reasoning
    is a part of the output. Parts larger than their whole are cut to it: no bucket is ever negative."""
    cache_read = min(cached, prompt)
    cache_write = min(written, prompt - cache_read)
    fresh = prompt - cache_read - cache_write
    return TokenUsage(
        input=fresh,
        cache_read=cache_read,
        cache_write_5m=cache_write,
        output=output,
        reasoning=min(reasoning, output),
        image_input=min(image_input, fresh),
        image_output=min(image_output, output),
    )


def text_bytes(value: object) -> int:
    """UTF-8 length of a string, 0 for anything else."""
    if not isinstance(value, str):
        return 0
    return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))


def texts_bytes(holder: object, names: Iterable[str]) -> int:
    """UTF-8 length of these string members together."""
    if not isinstance(holder, dict):
        return 0
    return sum(text_bytes(holder.get(name)) for name in names)


def members(holder: object, name: str) -> list[Any]:
    """A list member, or an empty list where it is absent or something else."""
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, list) else []
