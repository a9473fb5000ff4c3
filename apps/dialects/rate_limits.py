"""The rate-limit headers of each family of dialects, which its SDKs and agents know how to read.

OpenAI:    x-ratelimit-{limit,remaining,reset}-{requests,tokens}, reset a duration as Go writes it (`59s`, `6m0s`)
Anthropic: anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}, reset an instant
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from apps.core.errors import rfc3339

Header = tuple[bytes, bytes]
_Names = tuple[bytes, bytes, bytes]
_WHICH: Final = ("limit", "remaining", "reset")
_OPENAI: Final = "x-ratelimit-{which}-{what}"
_ANTHROPIC: Final = "anthropic-ratelimit-{what}-{which}"


def _names(pattern: str, what: str) -> _Names:
    limit, remaining, reset = (pattern.format(what=what, which=which).encode() for which in _WHICH)
    return limit, remaining, reset


_OPENAI_REQUESTS: Final = (_names(_OPENAI, "requests"),)
_OPENAI_TOKENS: Final = (_names(_OPENAI, "tokens"),)
_ANTHROPIC_REQUESTS: Final = (_names(_ANTHROPIC, "requests"),)
# There is one limit for both directions: either may use all of it.
_ANTHROPIC_TOKENS: Final = (
    _names(_ANTHROPIC, "tokens"),
    _names(_ANTHROPIC, "input-tokens"),
    _names(_ANTHROPIC, "output-tokens"),
)


def rate_headers(
    *, limit: int, remaining: int, resets_at: datetime | None, now: datetime, is_tokens: bool, anthropic: bool
) -> list[Header]:
    """One limit per minute in the dialect's words; without `resets_at` nothing is said of when it turns."""
    if anthropic:
        families = _ANTHROPIC_TOKENS if is_tokens else _ANTHROPIC_REQUESTS
        reset = None if resets_at is None else _instant(math.ceil(resets_at.timestamp()))
    else:
        families = _OPENAI_TOKENS if is_tokens else _OPENAI_REQUESTS
        reset = None if resets_at is None else go_duration((resets_at - now).total_seconds())
    shown_limit, shown_remaining = b"%d" % limit, b"%d" % remaining
    shown: list[Header] = []
    for limit_name, remaining_name, reset_name in families:
        shown.append((limit_name, shown_limit))
        shown.append((remaining_name, shown_remaining))
        if reset is not None:
            shown.append((reset_name, reset))
    return shown


def go_duration(seconds: float) -> bytes:
    """`0s`, `59s`, `6m0s`, `1h0m0s`: whole seconds, rounded up."""
    return _whole_duration(max(0, math.ceil(seconds)))


@lru_cache(maxsize=128)
def _whole_duration(seconds: int) -> bytes:
    hours, rest = divmod(seconds, 3_600)
    minutes, left = divmod(rest, 60)
    if hours:
        return b"%dh%dm%ds" % (hours, minutes, left)
    return b"%dm%ds" % (minutes, left) if minutes else b"%ds" % left


@lru_cache(maxsize=256)
def _instant(epoch_s: int) -> bytes:
    return rfc3339(datetime.fromtimestamp(epoch_s, UTC)).encode()
