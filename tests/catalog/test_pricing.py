from __future__ import annotations

import uuid
from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.catalog.pricing import Price, quote, weigh
from apps.core.tokens import NO_USAGE, TokenUsage

VERSION = uuid.UUID(int=7)
BUCKETS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "server_tool_requests")

tokens = st.integers(0, 10**9)
prices = st.integers(0, 10**12)
maybe = st.none() | prices
a_price = st.builds(
    Price,
    version_id=st.just(VERSION),
    input=prices,
    output=prices,
    cache_read=maybe,
    cache_write=maybe,
    cache_write_1h=maybe,
    server_tool_request=maybe,
)
a_usage = st.builds(TokenUsage, **dict.fromkeys(BUCKETS, tokens))


def price(**changes: Any) -> Price:
    """Sonnet's prices."""
    figures: dict[str, Any] = {
        "version_id": VERSION,
        "input": 315_000_000,
        "output": 1_575_000_000,
        "cache_read": 31_500_000,
        "cache_write": 394_000_000,
        "cache_write_1h": 630_000_000,
        "server_tool_request": 1_050_000_000,
    }
    return Price(**{**figures, **changes})


def exact(price: Price, usage: TokenUsage) -> Fraction:
    """The sum in microcredits, by SPEC 2.10: a bucket without a price falls back to its parent's."""
    write = price.cache_write if price.cache_write is not None else price.input
    per_token = {
        "input": price.input,
        "cache_read": price.cache_read if price.cache_read is not None else price.input,
        "cache_write_5m": write,
        "cache_write_1h": price.cache_write_1h if price.cache_write_1h is not None else write,
        "output": price.output,
    }
    total = sum(
        (Fraction(getattr(usage, bucket) * figure, 1_000_000) for bucket, figure in per_token.items()), Fraction(0)
    )
    return total + Fraction(usage.server_tool_requests * (price.server_tool_request or 0), 1_000)


@given(a_price, a_usage)
def test_a_quote_is_the_exact_sum_rounded_up_once(price: Price, usage: TokenUsage) -> None:
    assert quote(price, usage) == ceil(exact(price, usage))
    assert Fraction(weigh(price, usage), 1_000_000) == exact(price, usage)


@given(a_price, a_usage, st.sampled_from(BUCKETS), st.integers(1, 10**6))
def test_more_use_never_costs_less(price: Price, usage: TokenUsage, bucket: str, more: int) -> None:
    assert quote(price, replace(usage, **{bucket: getattr(usage, bucket) + more})) >= quote(price, usage)


@given(a_price, a_usage, a_usage)
def test_two_calls_cost_at_most_a_microcredit_more_than_one(price: Price, one: TokenUsage, other: TokenUsage) -> None:
    both = TokenUsage(**{bucket: getattr(one, bucket) + getattr(other, bucket) for bucket in BUCKETS})
    assert 0 <= quote(price, one) + quote(price, other) - quote(price, both) <= 1


@pytest.mark.parametrize(
    ("usage", "micro"),
    [
        (NO_USAGE, 0),
        (TokenUsage(input=1), 315),
        (TokenUsage(output=1), 1_575),
        (TokenUsage(cache_read=1), 32),
        (TokenUsage(cache_read=2), 63),
        (TokenUsage(cache_write_5m=1), 394),
        (TokenUsage(cache_write_1h=1), 630),
        (TokenUsage(server_tool_requests=1), 1_050_000),
        (TokenUsage(input=1_000, cache_read=9_000, output=500, reasoning=400), 1_386_000),
    ],
)
def test_known_bills(usage: TokenUsage, micro: int) -> None:
    assert quote(price(), usage) == micro


def test_reasoning_and_image_tokens_are_parts_and_cost_nothing_extra() -> None:
    plain = TokenUsage(input=100, output=50)
    assert quote(price(), TokenUsage(input=100, output=50, reasoning=40, image_input=90, image_output=30)) == quote(
        price(), plain
    )


@given(a_price, tokens)
def test_no_input_token_costs_more_than_the_dearest(price: Price, count: int) -> None:
    for writes_1h in (False, True):
        dearest = ceil(Fraction(count * price.dearest_input(writes_1h=writes_1h), 1_000_000))
        buckets = ["input", "cache_read", "cache_write_5m"] + (["cache_write_1h"] if writes_1h else [])
        for bucket in buckets:
            assert quote(price, TokenUsage(**{bucket: count})) <= dearest


def test_an_hours_write_is_the_dearest_only_where_it_is_asked_for() -> None:
    assert price().dearest_input(writes_1h=False) == 394_000_000
    assert price().dearest_input(writes_1h=True) == 630_000_000
    assert price(cache_write=None, cache_write_1h=None).dearest_input(writes_1h=True) == 315_000_000
