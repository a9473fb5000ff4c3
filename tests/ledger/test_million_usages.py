"""Random usages priced, and their sum: not a microcredit away from exact rationals.

50,000 of them in the ordinary suite; the full figure, in less than a minute, is

    LEDGER_USAGES=1000000 python -m pytest tests/ledger/test_million_usages.py
"""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import pytest

from apps.catalog.pricing import Price, quote
from apps.core.ids import new_id
from apps.core.money import Credits, price_per_mtok
from apps.core.tokens import TokenUsage

USAGES: Final = int(os.environ.get("LEDGER_USAGES", "50000"))
CATALOG: Final = Path(__file__).parents[2] / "apps" / "catalog" / "catalog.json"
CREDITS_PER_USD: Final = 100
MICRO_PER_CREDIT: Final = 1_000_000
TOKENS: Final = 1_000_000
"""Prices are per so many tokens."""
REQUESTS: Final = 1_000
"""A server tool's price is per so many requests."""

draws = random.Random(20_261_127)


@dataclass(frozen=True)
class Exact:
    """A model's prices as exact numbers of credits: the catalog's own text, read without our code."""

    input: Fraction
    cache_read: Fraction
    cache_write: Fraction
    cache_write_1h: Fraction
    output: Fraction
    tool: Fraction

    def numerators(self) -> tuple[int, tuple[int, ...]]:
        """All prices over one denominator, so that a million sums stay quick and exact."""
        prices = (self.input, self.cache_read, self.cache_write, self.cache_write_1h, self.output, self.tool)
        denominator = math.lcm(*(price.denominator for price in prices))
        return denominator, tuple(price.numerator * (denominator // price.denominator) for price in prices)


def price_of(text: Any) -> Fraction | None:
    return None if text is None else Fraction(str(text)) * CREDITS_PER_USD / TOKENS


def exact_prices(model: dict[str, Any]) -> Exact:
    prices = model["usd_per_million_tokens"]
    paid, output = price_of(prices["input"]), price_of(prices["output"])
    assert paid is not None
    assert output is not None
    # A bucket without a price falls back to its parent's; an hour's cache write is twice the input where there is any.
    cache_write = price_of(prices.get("cache_write"))
    one_hour = price_of(prices.get("cache_write_1h"))
    tool = model.get("usd_per_thousand_server_tool_requests")
    return Exact(
        input=paid,
        cache_read=price_of(prices.get("cache_read")) or paid,
        cache_write=cache_write or paid,
        cache_write_1h=one_hour or (paid if cache_write is None else 2 * paid),
        output=output,
        tool=Fraction(0) if tool is None else Fraction(str(tool)) * CREDITS_PER_USD / REQUESTS,
    )


def our_prices(model: dict[str, Any]) -> Price:
    prices = model["usd_per_million_tokens"]
    paid, output = price_per_mtok(prices["input"]), price_per_mtok(prices["output"])
    assert paid is not None
    assert output is not None
    one_hour = price_per_mtok(prices.get("cache_write_1h"))
    if one_hour is None and prices.get("cache_write") is not None:
        one_hour = 2 * paid
    return Price(
        version_id=new_id(),
        input=paid,
        output=output,
        cache_read=price_per_mtok(prices.get("cache_read")),
        cache_write=price_per_mtok(prices.get("cache_write")),
        cache_write_1h=one_hour,
        server_tool_request=price_per_mtok(model.get("usd_per_thousand_server_tool_requests")),
    )


SIZES: Final[tuple[Callable[[], int], ...]] = (
    lambda: 0,
    lambda: draws.randrange(1, 10),  # less than a microcredit's worth, often
    lambda: draws.randrange(10_000),
    lambda: draws.randrange(2_000_000),
    lambda: draws.randrange(2**40),
)


def random_usage() -> TokenUsage:
    fresh, read, written, written_1h, said = (size() for size in draws.choices(SIZES, weights=(30, 25, 30, 14, 1), k=5))
    return TokenUsage(
        input=fresh,
        cache_read=read,
        cache_write_5m=written,
        cache_write_1h=written_1h,
        output=said,
        server_tool_requests=draws.randrange(40) if draws.random() < 0.1 else 0,
    )


@pytest.fixture(scope="module")
def models() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(CATALOG.read_text())["models"]
    assert len(found) == 16
    return found


def test_charges_are_the_exact_costs_rounded_up_once_and_their_sum_drifts_by_nothing(
    models: list[dict[str, Any]],
) -> None:
    priced = [(our_prices(model), exact_prices(model).numerators()) for model in models]
    told, true, rounded_up = 0, 0, Fraction(0)
    for number in range(USAGES):
        ours, (denominator, numerators) = priced[number % len(priced)]
        usage = random_usage()
        charge = quote(ours, usage)
        tokens = (usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h, usage.output)
        used = (*tokens, usage.server_tool_requests)
        weight = sum(count * numerator for count, numerator in zip(used, numerators, strict=True)) * MICRO_PER_CREDIT
        assert charge == -(-weight // denominator), (ours, usage)
        told += charge
        true += -(-weight // denominator)
        if number % 1_000 == 0:
            # In Fractions all the way, for those who mistrust the common denominator.
            exact = Fraction(weight, denominator)
            assert charge == math.ceil(exact)
            assert 0 <= charge - exact < 1
            rounded_up = max(rounded_up, charge - exact)
    assert told - true == 0
    assert rounded_up < 1
    print(f"{USAGES} usages, {Credits(told)} credits, drift {told - true}")


def test_a_call_that_costs_less_than_a_microcredit_costs_one(models: list[dict[str, Any]]) -> None:
    for model in models:
        ours = our_prices(model)
        assert quote(ours, TokenUsage()) == 0
        one = quote(ours, TokenUsage(input=1))
        assert one == -(-ours.input // TOKENS) >= 1
