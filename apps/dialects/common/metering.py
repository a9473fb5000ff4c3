"""Read counts that a provider reports, and keep what it said for where it reports none."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, Final

from apps.core.tokens import TokenUsage
from apps.dialects.said import Said

MAX_REPORTED: Final = 2**53 - 1
"""Larger counts are cut to this: what every JSON reader and BIGINT holds exactly."""


def count(holder: object, *names: str) -> int | None:
    """The first of these counts that is there. Only JSON integers are counts, and none below zero is."""
    if not isinstance(holder, dict):
        return None
    for name in names:
        value = holder.get(name)
        if type(value) is int and value >= 0:
            return min(value, MAX_REPORTED)
    return None


def is_nonsense(raw: dict[str, Any]) -> bool:
    """Whether a usage object counts less than nothing somewhere: then none of it is believed."""
    for value in raw.values():
        if type(value) is int:
            if value < 0:
                return True
        elif type(value) is dict and any(type(part) is int and part < 0 for part in value.values()):
            return True
    return False


def first_count(*counts: int | None) -> int | None:
    return next((value for value in counts if value is not None), None)


def inclusive_usage(
    *,
    prompt: int,
    output: int,
    cached: int,
    written: int,
    reasoning: int,
    written_long: int = 0,
    image_input: int = 0,
    image_output: int = 0,
    server_tool_requests: int = 0,
) -> TokenUsage:
    """Canonical usage out of OpenAI-style counts, where cached and written tokens are parts of the prompt and reasoning
    is a part of the output. Parts larger than their whole are cut to it: no bucket is ever negative.

    More cached than there is of the prompt is believed: Grok on Azure reads text of its own from its cache, too.
    """
    cache_write = min(written, max(0, prompt - cached))
    fresh = max(0, prompt - cached - cache_write)
    return TokenUsage(
        input=fresh,
        cache_read=cached,
        cache_write_5m=cache_write - min(written_long, cache_write),
        cache_write_1h=min(written_long, cache_write),
        output=output,
        reasoning=min(reasoning, output),
        image_input=min(image_input, fresh),
        image_output=min(image_output, output),
        server_tool_requests=server_tool_requests,
    )


def hear_texts(said: Said, block: Hashable, holder: object, names: Iterable[str]) -> None:
    """Keep these members of an object, where they are strings, as more of the block's text."""
    if not isinstance(holder, dict):
        return
    for name in names:
        value = holder.get(name)
        if isinstance(value, str) and value:
            said.hear(block, value)


def seal_bytes(value: object) -> int:
    """Length of encrypted content as it came, which is ASCII; 0 for anything but a string."""
    return len(value) if isinstance(value, str) else 0


def members(holder: object, name: str) -> list[Any]:
    """A list member, or an empty list where it is absent or something else."""
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, list) else []
