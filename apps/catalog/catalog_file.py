"""A catalog file, read whole before anything is changed: what it does not say exactly, it does not say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from apps.accounts.mistakes import POSITIVE_INTEGER_MAX, Mistake, check_choice, check_range, clean_line
from apps.catalog.mistakes import CatalogMistake
from apps.core import tokenizer
from apps.core.money import InvalidAmount, price_per_mtok
from apps.dialects import protocol

DIALECTS: Final = (
    protocol.OPENAI_CHAT,
    protocol.OPENAI_RESPONSES,
    protocol.OPENAI_IMAGES,
    protocol.ANTHROPIC_MESSAGES,
    protocol.GEMINI,
)
SURFACES: Final = ("text", "image")
MODALITIES: Final = ("text", "image", "audio")
METERS: Final = ("input", "cache_read", "cache_write", "cache_write_1h", "output")
REQUIRED_METERS: Final = ("input", "output")
BOUNDS: Final = (
    "bytes_per_token_floor",
    "image_input_tokens",
    "document_input_tokens_per_page",
    "audio_input_tokens",
    "server_tool_input_tokens",
    "reasoning_tokens",
    "overhead_tokens",
    "image_output_tokens",
    "tokenizer",
    "tokenizer_factor",
)
DECIMAL_BOUNDS: Final = {
    "bytes_per_token_floor": (Decimal("0.5"), Decimal(100)),
    "tokenizer_factor": (Decimal(1), Decimal(10)),
}
"""Bounds with up to three decimals: from, to."""
FACTORS: Final = (Decimal("0.001"), Decimal(100))
REQUIRED_FIELDS: Final = ("id", "name", "surface", "context_tokens", "dialects", "usd_per_million_tokens")
OPTIONAL_FIELDS: Final = (
    "max_output_tokens",
    "cli_only",
    "input_modalities",
    "output_modalities",
    "bounds",
    "usd_per_thousand_server_tool_requests",
    "price_modifiers",
    "max_tokens_field",
)
MODIFIER_FIELDS: Final = ("service_tier", "speed", "inference_geo")
"""What a request may say that changes its price, where a factor says how."""
MAX_TOKENS_FIELDS: Final = ("max_tokens", "max_completion_tokens")
LONG_CACHE_WRITE_FACTOR: Final = 2
"""A one-hour cache write costs this many times the input where the file gives no price (SPEC 2.10)."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Microcredits per million tokens; `server_tool_request` per thousand requests. None: no such meter."""

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    server_tool_request: int | None = None
    modifiers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model as the file describes it; `columns` are the fields of a `Model`."""

    id: str
    surface: str
    columns: Mapping[str, object]
    prices: Prices


def read_catalog(text: str) -> list[ModelRow]:
    """Read a catalog file.

    Shape:  {"currency": "USD", "models": [{"id", "name", …, "usd_per_million_tokens": {"input": "5.25", …}}]}
    Raises: CatalogMistake, naming the model and the field.
    """
    try:
        content = json.loads(text, parse_float=Decimal, object_pairs_hook=_without_repeats)
    except (json.JSONDecodeError, RecursionError) as failure:
        raise CatalogMistake(f"the catalog is not JSON: {failure}") from None
    if not isinstance(content, dict) or not isinstance(content.get("models"), list):
        raise CatalogMistake('the catalog must be an object with a list of "models"')
    if content.get("currency") != "USD":
        raise CatalogMistake('the catalog\'s "currency" must be "USD"')
    rows = [_model(row, position) for position, row in enumerate(content["models"])]
    if not rows:
        raise CatalogMistake("the catalog has no models")
    ids = [row.id for row in rows]
    repeated = next((model_id for model_id in ids if ids.count(model_id) > 1), None)
    if repeated is not None:
        raise CatalogMistake(f"{repeated} is in the catalog twice")
    return rows


def check_prices(prices: Prices) -> Prices:
    """Return prices whose meters are complete, the one-hour cache write filled in.

    Raises: CatalogMistake.
    """
    for meter in ("input", "output", "cache_read", "cache_write", "cache_write_1h", "server_tool_request"):
        price = getattr(prices, meter)
        if price is not None and price < 0:
            raise CatalogMistake(f"the price of {meter} is negative")
    if prices.cache_write_1h is not None and prices.cache_write is None:
        raise CatalogMistake("cache_write_1h has a price but cache_write has none")
    if prices.cache_write is None or prices.cache_write_1h is not None:
        return prices
    return replace(prices, cache_write_1h=LONG_CACHE_WRITE_FACTOR * prices.input)


def _model(row: object, position: int) -> ModelRow:
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        raise CatalogMistake(f"model number {position + 1} of the catalog is not an object with an id")
    try:
        return _read_model(row)
    except Mistake as mistake:
        raise CatalogMistake(f"{row['id']}: {mistake}") from None


def _read_model(row: dict[str, Any]) -> ModelRow:
    missing = [name for name in REQUIRED_FIELDS if row.get(name) is None]
    if missing:
        raise CatalogMistake(f"{missing[0]} is missing")
    unknown = sorted(set(row) - {*REQUIRED_FIELDS, *OPTIONAL_FIELDS})
    if unknown:
        raise CatalogMistake(f"unknown field {unknown[0]}")
    model_id = clean_line(row["id"], "id", most=100)
    if model_id != row["id"] or "/" in model_id:
        raise CatalogMistake("an id has no outer spaces and no slash")
    surface = check_choice(str(row["surface"]), "surface", SURFACES)
    outputs = _names(row.get("output_modalities", [surface]), "output_modalities", MODALITIES)
    bounds = _bounds(row.get("bounds", {}))
    if "image" in outputs and not bounds.get("image_output_tokens"):
        raise CatalogMistake("makes images, so bounds.image_output_tokens is needed")
    max_output_tokens = _whole(row.get("max_output_tokens"), "max_output_tokens")
    if surface == "text" and max_output_tokens is None:
        raise CatalogMistake("max_output_tokens is missing")
    cli_only = row.get("cli_only", False)
    if not isinstance(cli_only, bool):
        raise CatalogMistake("cli_only must be true or false")
    return ModelRow(
        id=model_id,
        surface=surface,
        columns={
            "name": clean_line(str(row["name"]), "name", most=100),
            "surface": surface,
            "context_tokens": _whole(row["context_tokens"], "context_tokens"),
            "max_output_tokens": max_output_tokens,
            "cli_only": cli_only,
            "dialects": _names(row["dialects"], "dialects", DIALECTS),
            "input_modalities": _names(row.get("input_modalities", ["text"]), "input_modalities", MODALITIES),
            "output_modalities": outputs,
            "max_tokens_field": check_choice(
                str(row.get("max_tokens_field", MAX_TOKENS_FIELDS[0])), "max_tokens_field", MAX_TOKENS_FIELDS
            ),
            "bounds": bounds,
        },
        prices=_prices(row),
    )


def _prices(row: dict[str, Any]) -> Prices:
    usd = row["usd_per_million_tokens"]
    if not isinstance(usd, dict):
        raise CatalogMistake("usd_per_million_tokens must be an object")
    unknown = sorted(set(usd) - set(METERS))
    if unknown:
        raise CatalogMistake(f"unknown meter {unknown[0]}")
    missing = [meter for meter in REQUIRED_METERS if usd.get(meter) is None]
    if missing:
        raise CatalogMistake(f"{missing[0]} has no price")
    prices = {meter: _price(usd.get(meter), meter) for meter in METERS}
    tool = _price(row.get("usd_per_thousand_server_tool_requests"), "usd_per_thousand_server_tool_requests")
    modifiers = _modifiers(row.get("price_modifiers", {}))
    return check_prices(
        Prices(**prices, server_tool_request=tool, modifiers=modifiers)  # type: ignore[arg-type]  # required ones are set
    )


def _modifiers(value: object) -> dict[str, int]:
    """Factors by field and word, in thousandths. Shape:  {"service_tier": {"priority": "1.75"}}"""
    if not isinstance(value, dict):
        raise CatalogMistake("price_modifiers must be an object")
    factors = {}
    for name, words in value.items():
        if name not in MODIFIER_FIELDS or not isinstance(words, dict):
            raise CatalogMistake(f"price_modifiers has words for {', '.join(MODIFIER_FIELDS)} only: not for {name}")
        for word, factor in words.items():
            factors[f"{name}={word}"] = int(Decimal(_decimal(factor, "price_modifiers", *FACTORS)) * 1_000)
    return factors


def _price(usd: object, meter: str) -> int | None:
    if usd is None:
        return None
    if isinstance(usd, bool) or not isinstance(usd, str | int | Decimal):
        raise CatalogMistake(f"the price of {meter} must be a decimal number")
    try:
        return price_per_mtok(str(usd))
    except (InvalidAmount, InvalidOperation):
        raise CatalogMistake(
            f"the price of {meter} must be a decimal number, not negative, of at most eight decimals: {usd}"
        ) from None


def _bounds(bounds: object) -> dict[str, object]:
    if not isinstance(bounds, dict):
        raise CatalogMistake("bounds must be an object")
    unknown = sorted(set(bounds) - set(BOUNDS))
    if unknown:
        raise CatalogMistake(f"unknown bound {unknown[0]}")
    read: dict[str, object] = {}
    for name, value in bounds.items():
        if name in DECIMAL_BOUNDS:
            read[name] = _decimal(value, f"bounds.{name}", *DECIMAL_BOUNDS[name])
        elif name == "tokenizer":
            read[name] = check_choice(str(value), "bounds.tokenizer", tokenizer.NAMES)
        elif name == "image_output_tokens":
            if not isinstance(value, dict):
                raise CatalogMistake("bounds.image_output_tokens must be an object of sizes or qualities")
            read[name] = {size: _whole(tokens, f"bounds.{name}.{size}") for size, tokens in value.items()}
        else:
            read[name] = _whole(value, f"bounds.{name}")
    return read


def _decimal(value: object, what: str, least: Decimal, most: Decimal) -> str:
    """A small decimal as text, so that no float ever carries it."""
    try:
        number = Decimal(str(value))
        is_exact = number.is_finite() and number * 1_000 == int(number * 1_000)
    except (InvalidOperation, ValueError):
        is_exact = False
    if isinstance(value, bool) or not is_exact or not least <= number <= most:
        raise CatalogMistake(f"{what} must be from {least} to {most}, with at most three decimals")
    return str(number)


def _whole(value: object, what: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise CatalogMistake(f"{what} must be a whole number")
    return check_range(value, what, most=POSITIVE_INTEGER_MAX)


def _names(value: object, what: str, known: tuple[str, ...]) -> list[str]:
    if not isinstance(value, list) or not value:
        raise CatalogMistake(f"{what} must be a list of at least one name")
    names = [check_choice(str(name), what, known) for name in value]
    if len(set(names)) < len(names):
        raise CatalogMistake(f"{what} names one of them twice")
    return names


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object, where each name comes once: a repeated price would silently lose to the later one."""
    seen = dict(pairs)
    if len(seen) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise CatalogMistake(f"the catalog names {repeated!r} twice in one object")
    return seen
