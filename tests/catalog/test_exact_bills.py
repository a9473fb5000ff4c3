"""A million bills, worked out a second time from the dollars that people read: not a microcredit of drift."""

from __future__ import annotations

import json
import random
from fractions import Fraction
from math import lcm
from operator import mul
from typing import Any, Final

from apps.catalog.catalog_file import read_catalog
from apps.catalog.pricing import Price, modified, quote
from apps.catalog.services import SHIPPED_CATALOG
from apps.core.ids import new_id
from apps.core.tokens import TokenUsage

USAGES: Final = 1_000_000
MICRO_PER_USD: Final = 100 * 1_000_000
FACTOR: Final = Fraction(7, 4)
METERS: Final = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
VERSION: Final = new_id()


def dollars(row: dict[str, Any]) -> dict[str, Fraction]:
    """US$ per unit of each bucket, as the file's texts say; SPEC 2.10 for those that it leaves out."""
    usd = row["usd_per_million_tokens"]
    searches = row.get("usd_per_thousand_server_tool_requests")
    plain = Fraction(usd["input"])
    has_writes = usd["cache_write"] is not None
    per_million = {
        "input": plain,
        "cache_read": plain if usd["cache_read"] is None else Fraction(usd["cache_read"]),
        "cache_write_5m": Fraction(usd["cache_write"]) if has_writes else plain,
        "cache_write_1h": 2 * plain if has_writes else plain,
        "output": Fraction(usd["output"]),
    }
    return {
        **{bucket: price / 1_000_000 for bucket, price in per_million.items()},
        "server_tool_requests": Fraction(0) if searches is None else Fraction(searches) / 1_000,
    }


def test_a_million_bills_are_exact() -> None:
    draw = random.Random(20261127)
    catalog = json.loads(SHIPPED_CATALOG.read_text())
    loaded = {row.id: row.prices for row in read_catalog(SHIPPED_CATALOG.read_text())}
    charged = 0
    owed = Fraction(0)
    rounded_up = Fraction(0)
    rounds = USAGES // len(catalog["models"])
    for row in catalog["models"]:
        figures = loaded[row["id"]]
        price = Price(
            version_id=VERSION,
            input=figures.input,
            output=figures.output,
            cache_read=figures.cache_read,
            cache_write=figures.cache_write,
            cache_write_1h=figures.cache_write_1h,
            server_tool_request=figures.server_tool_request,
        )
        rates = dollars(row)
        # As integers over one denominator: a million sums of fractions would take minutes, and be no more exact.
        unit = lcm(*(rate.denominator for rate in rates.values()))
        weights = [int(rate * unit) * MICRO_PER_USD for rate in rates.values()]
        total = remainder = 0
        for _ in range(rounds):
            scale = draw.choice((1, 30, 1_000, 100_000, 10_000_000))
            fresh, read, short, long, output = (int(draw.random() * scale) for _ in range(5))
            searches = int(draw.random() * 20)
            usage = TokenUsage(fresh, read, short, long, output, server_tool_requests=searches)
            exact = sum(map(mul, (fresh, read, short, long, output, searches), weights))
            charge = quote(price, usage)
            # The exact amount, rounded up once to a whole microcredit.
            assert charge == -(-exact // unit), (row["id"], usage)
            charged += charge
            total += exact
            remainder += -exact % unit
        owed += Fraction(total, unit)
        rounded_up += Fraction(remainder, unit)
    assert charged == owed + rounded_up
    assert rounded_up < USAGES


def test_a_modifier_multiplies_exactly() -> None:
    draw = random.Random(7)
    for _ in range(20_000):
        figures = {meter: draw.randrange(10**9) for meter in METERS}
        plain = Price(VERSION, **figures, modifiers={"service_tier=priority": 1_750})
        dear = modified(plain, ["service_tier=priority"])
        for meter in METERS:
            exact = getattr(plain, meter) * FACTOR
            assert 0 <= getattr(dear, meter) - exact < 1
