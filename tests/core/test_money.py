from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.money import MAX_MICRO, Credits, InvalidAmount, json_amount, json_number, price_per_mtok

micros = st.integers(-MAX_MICRO, MAX_MICRO)


@pytest.mark.parametrize(
    ("text", "micro"),
    [
        ("1000", 1_000_000_000),
        ("0.5", 500_000),
        ("12.000001", 12_000_001),
        ("-3", -3_000_000),
        ("1e2", 100_000_000),
        (7, 7_000_000),
        (Decimal("0.0136"), 13_600),
        (str(Decimal(MAX_MICRO) / 1_000_000), MAX_MICRO),
    ],
)
def test_amounts_are_read_exactly(text: str | int | Decimal, micro: int) -> None:
    assert Credits.parse(text) == Credits(micro)


@pytest.mark.parametrize(
    "text",
    ["", "ten", "1,5", "0.0000001", "NaN", "Infinity", "-Infinity", "1e400", "9007199254.740992", "--1", "1 2", "\0"],
)
def test_what_is_no_exact_amount_is_refused(text: str) -> None:
    with pytest.raises(InvalidAmount):
        Credits.parse(text)


def test_a_number_of_digits_without_end_is_refused_quickly() -> None:
    with pytest.raises(InvalidAmount):
        Credits.parse("9" * 100_000)


@given(micros)
def test_what_is_shown_is_read_back(micro: int) -> None:
    assert Credits.parse(str(Credits(micro))) == Credits(micro)
    assert json.loads(json_amount(micro), parse_int=Decimal, parse_float=Decimal) * 1_000_000 == micro
    assert Decimal(json_number(micro)) * 1_000_000 == micro


@pytest.mark.parametrize(
    ("micro", "shown"),
    [(0, "0"), (12_000_000, "12"), (13_600, "0.0136"), (1, "0.000001"), (-1, "-0.000001"), (-2_500_000, "-2.5")],
)
def test_amounts_are_shown_without_needless_digits(micro: int, shown: str) -> None:
    assert str(Credits(micro)) == json_amount(micro) == shown


@given(st.integers(0, 10**30))
def test_a_charge_is_rounded_up_once(weight: int) -> None:
    assert Credits.charge(weight).micro == ceil(Fraction(weight, 1_000_000))


@given(micros, micros)
def test_sums_and_differences(first: int, second: int) -> None:
    one, other = Credits(first), Credits(second)
    assert (one + other).micro == first + second
    assert (one - other) == one + -other
    assert (one < other) == (first < second)
    assert bool(one) == (first != 0)


def test_whole_credits() -> None:
    assert Credits.whole(3) == Credits(3_000_000)


@pytest.mark.parametrize(
    ("usd", "micro"), [("5.25", 525_000_000), ("0.0038", 380_000), ("0", 0), ("31.50", 3_150_000_000), (None, None)]
)
def test_prices_are_read_as_the_catalog_writes_them(usd: str | None, micro: int | None) -> None:
    assert price_per_mtok(usd) == micro


@pytest.mark.parametrize("usd", ["-1", "0.000000001", "free"])
def test_odd_prices_are_refused(usd: str) -> None:
    with pytest.raises((InvalidAmount, ArithmeticError)):
        price_per_mtok(usd)
