"""Credits: integers with a name. 1 credit = US$0.01 = 1,000,000 microcredits."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

MICRO_PER_CREDIT: Final = 1_000_000
CREDITS_PER_USD: Final = 100
TOKENS_PER_PRICE: Final = 1_000_000
"""A price is microcredits per this many tokens."""

MAX_MICRO: Final = 2**53 - 1
"""Largest amount we take or show (9 billion credits): exact in a BIGINT and in a JSON number."""


class InvalidAmount(ValueError):
    """The text is not an amount of credits that we can hold exactly."""


@dataclass(frozen=True, slots=True, order=True)
class Credits:
    """An exact amount of credits, in microcredits. May be negative (a correction)."""

    micro: int

    def __add__(self, other: Credits) -> Credits:
        return Credits(self.micro + other.micro)

    def __sub__(self, other: Credits) -> Credits:
        return Credits(self.micro - other.micro)

    def __neg__(self) -> Credits:
        return Credits(-self.micro)

    def __bool__(self) -> bool:
        return self.micro != 0

    def __str__(self) -> str:
        """`12` where whole, else up to six decimals: `0.0136`."""
        return json_amount(self.micro)

    @classmethod
    def whole(cls, credits: int) -> Credits:
        return cls(credits * MICRO_PER_CREDIT)

    @classmethod
    def parse(cls, text: str | int | Decimal) -> Credits:
        """Read an amount of credits as people write it: `1000`, `0.5`, `12.000001`.

        Raises: InvalidAmount, for anything but a plain number with at most six decimals.
        """
        try:
            scaled = Decimal(text) * MICRO_PER_CREDIT
            micro = int(scaled)
        except (InvalidOperation, ValueError, OverflowError, TypeError):
            raise InvalidAmount(f"not an amount of credits: {text!r}") from None
        if scaled != micro:
            raise InvalidAmount(f"more than six decimals: {text}")
        if abs(micro) > MAX_MICRO:
            raise InvalidAmount(f"amount out of range: {text}")
        return cls(micro)

    @classmethod
    def charge(cls, tokens_times_price: int) -> Credits:
        """Turn the sum of tokens x price (microcredits per million tokens) into a charge, rounded up once."""
        return cls(-(-tokens_times_price // TOKENS_PER_PRICE))


NOTHING: Final = Credits(0)


def payout_micro(charge_micro: int, percent: int) -> int:
    """What `percent` of a charge comes to, in microcredits: what is paid out is rounded down once."""
    return charge_micro * percent // 100


def json_amount(micro: int) -> str:
    """Render microcredits as a JSON number of credits: `12`, `0.0136`. Never a float on the way."""
    whole, rest = divmod(abs(micro), MICRO_PER_CREDIT)
    sign = "-" if micro < 0 else ""
    return f"{sign}{whole}.{rest:06d}".rstrip("0") if rest else f"{sign}{whole}"


def json_number(micro: int) -> int | Decimal:
    """The same amount as a value for an encoder: an int where whole, else an exact Decimal."""
    return micro // MICRO_PER_CREDIT if micro % MICRO_PER_CREDIT == 0 else Decimal(json_amount(micro))


def price_per_mtok(usd: str | None) -> int | None:
    """US$ per million tokens, as the catalog file writes it, in microcredits: "5.25" -> 525_000_000.

    Raises: InvalidAmount, where the price is negative or finer than a microcredit.
    """
    if usd is None:
        return None
    price = Credits.parse(Decimal(usd) * CREDITS_PER_USD)
    if price.micro < 0:
        raise InvalidAmount(f"negative price: {usd}")
    return price.micro
