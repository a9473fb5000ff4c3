"""What a call costs. Pure integer arithmetic: sums of tokens x price, one rounding at the end."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from apps.core.money import TOKENS_PER_PRICE
from apps.core.tokens import TokenUsage

REQUESTS_PER_TOOL_PRICE: Final = 1_000
"""A server tool's price is microcredits per this many requests."""
TOOL_SCALE: Final = TOKENS_PER_PRICE // REQUESTS_PER_TOOL_PRICE


@dataclass(frozen=True, slots=True)
class Price:
    """One version of a model's prices: microcredits per million tokens.

    A bucket whose price is None falls back to its parent's, never to zero.
    """

    version_id: uuid.UUID
    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    server_tool_request: int | None = None
    """Per thousand requests; None: this model refuses server tools."""
    modifiers: Mapping[str, int] = field(default_factory=dict)
    """Factors of all tokens' prices, in thousandths, by what a request says: {"service_tier=priority": 1_750}."""

    def dearest_input(self, *, writes_1h: bool) -> int:
        """The highest price that an input token can meet."""
        dearest = max(self.input, self.cache_read or 0, self.cache_write or 0)
        return max(dearest, self.cache_write_1h or 0) if writes_1h else dearest


def modified(price: Price, names: Iterable[str]) -> Price:
    """The price of a call whose request says these words, each of them priced: every meter of tokens times every
    factor, rounded up.

    Raises: KeyError, for a word without a factor.
    """
    for name in names:
        factor = price.modifiers[name]
        price = replace(
            price,
            input=_times(price.input, factor),
            output=_times(price.output, factor),
            cache_read=_times_or_none(price.cache_read, factor),
            cache_write=_times_or_none(price.cache_write, factor),
            cache_write_1h=_times_or_none(price.cache_write_1h, factor),
        )
    return price


def _times(price: int, factor_thousandths: int) -> int:
    return -(-price * factor_thousandths // 1_000)


def _times_or_none(price: int | None, factor_thousandths: int) -> int | None:
    return None if price is None else _times(price, factor_thousandths)


def weigh(price: Price, usage: TokenUsage) -> int:
    """Sum tokens x price over all buckets, in millionths of a microcredit: what `Credits.charge` rounds."""
    cache_write = price.input if price.cache_write is None else price.cache_write
    return (
        usage.input * price.input
        + usage.cache_read * (price.input if price.cache_read is None else price.cache_read)
        + usage.cache_write_5m * cache_write
        + usage.cache_write_1h * (cache_write if price.cache_write_1h is None else price.cache_write_1h)
        + usage.output * price.output
        + usage.server_tool_requests * (price.server_tool_request or 0) * TOOL_SCALE
    )


def quote(price: Price, usage: TokenUsage) -> int:
    """The charge for `usage` in microcredits, rounded up once."""
    return -(-weigh(price, usage) // TOKENS_PER_PRICE)
