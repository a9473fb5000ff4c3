"""A catalog file is read whole or refused with one line that names the model and the field."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from apps.catalog.catalog_file import Prices, read_catalog
from apps.catalog.mistakes import CatalogMistake
from apps.catalog.services import SHIPPED_CATALOG

SONNET: dict[str, Any] = {
    "id": "claude-sonnet-4-7",
    "name": "Claude Sonnet 4.7",
    "surface": "text",
    "context_tokens": 1_000_000,
    "max_output_tokens": 128_000,
    "dialects": ["anthropic-messages"],
    "usd_per_million_tokens": {"input": "3.15", "cache_read": "0.315", "cache_write": "3.94", "output": "15.75"},
    "usd_per_thousand_server_tool_requests": "10.50",
    "bounds": {"bytes_per_token_floor": "2.0", "image_input_tokens": 1600},
}


def catalog(*rows: dict[str, Any]) -> str:
    return json.dumps({"currency": "USD", "models": rows})


def sonnet(**changes: Any) -> dict[str, Any]:
    row = copy.deepcopy(SONNET)
    row.update(changes)
    return row


def priced(**usd: Any) -> dict[str, Any]:
    return sonnet(usd_per_million_tokens={**SONNET["usd_per_million_tokens"], **usd})


def test_prices_become_microcredits_and_a_long_cache_write_twice_the_input() -> None:
    (row,) = read_catalog(catalog(SONNET))
    assert row.prices == Prices(
        input=315_000_000,
        output=1_575_000_000,
        cache_read=31_500_000,
        cache_write=394_000_000,
        cache_write_1h=630_000_000,
        server_tool_request=1_050_000_000,
    )


def test_a_long_cache_write_with_a_price_of_its_own_keeps_it() -> None:
    (row,) = read_catalog(catalog(priced(cache_write_1h="6.30000001")))
    assert row.prices.cache_write_1h == 630_000_001


def test_a_meter_that_does_not_exist_has_no_price() -> None:
    (row,) = read_catalog(catalog(priced(cache_read=None, cache_write=None)))
    assert (row.prices.cache_read, row.prices.cache_write, row.prices.cache_write_1h) == (None, None, None)


def test_a_number_is_as_exact_as_a_text() -> None:
    text = catalog(SONNET).replace('"3.15"', "3.15").replace('"0.315"', "0.315")
    assert read_catalog(text) == read_catalog(catalog(SONNET))


def test_a_free_model_says_so() -> None:
    (row,) = read_catalog(catalog(priced(input="0", output="0", cache_read=None, cache_write=None)))
    assert (row.prices.input, row.prices.output) == (0, 0)


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (priced(input=None), "claude-sonnet-4-7: input has no price"),
        (priced(output=None), "claude-sonnet-4-7: output has no price"),
        (priced(video="1"), "claude-sonnet-4-7: unknown meter video"),
        (priced(cache_write=None, cache_write_1h="1"), "cache_write_1h has a price but cache_write has none"),
        (priced(output="-1"), "the price of output must be a decimal number, not negative"),
        (priced(output="NaN"), "the price of output must be a decimal number"),
        (priced(output="0.000000001"), "the price of output must be a decimal number"),
        (priced(output=True), "the price of output must be a decimal number"),
        (sonnet(usd_per_million_tokens=[]), "usd_per_million_tokens must be an object"),
        (sonnet(usd_per_image="0.04"), "unknown field usd_per_image"),
        (sonnet(name=None), "name is missing"),
        (sonnet(max_output_tokens=None), "max_output_tokens is missing"),
        (sonnet(max_output_tokens=0), "max_output_tokens must be from 1 to 2147483647, not 0"),
        (sonnet(context_tokens="1M"), "context_tokens must be a whole number"),
        (sonnet(context_tokens=True), "context_tokens must be a whole number"),
        (sonnet(surface="sound"), "surface is 'sound': use one of text, image"),
        (sonnet(cli_only="yes"), "cli_only must be true or false"),
        (sonnet(dialects=[]), "dialects must be a list of at least one name"),
        (sonnet(dialects=["telegraph"]), "dialects is 'telegraph'"),
        (sonnet(dialects=["gemini", "gemini"]), "dialects names one of them twice"),
        (sonnet(bounds={"image_tokens": 5}), "unknown bound image_tokens"),
        (sonnet(bounds={"bytes_per_token_floor": "0"}), "bytes_per_token_floor must be from 0.5 to 100"),
        (sonnet(bounds={"bytes_per_token_floor": "2.0001"}), "with at most three decimals"),
        (sonnet(bounds={"tokenizer": "abacus"}), "bounds.tokenizer is 'abacus'"),
        (sonnet(bounds={"tokenizer_factor": "0.9"}), "bounds.tokenizer_factor must be from 1 to 10"),
        (sonnet(bounds={"tokenizer_factor": float("nan")}), "bounds.tokenizer_factor must be from 1 to 10"),
        (sonnet(bounds={"reasoning_tokens": -1}), "bounds.reasoning_tokens"),
        (sonnet(output_modalities=["image"]), "makes images, so bounds.image_output_tokens is needed"),
        (sonnet(id=" x "), "an id has no outer spaces and no slash"),
        (sonnet(id=7), "model number 1 of the catalog is not an object with an id"),
    ],
)
def test_a_row_that_is_not_exact_is_refused_by_name(row: dict[str, Any], line: str) -> None:
    with pytest.raises(CatalogMistake) as refused:
        read_catalog(catalog(row))
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "the catalog is not JSON"),
        ("[" * 100_000, "the catalog is not JSON"),
        ("[]", 'the catalog must be an object with a list of "models"'),
        ('{"models": []}', '"currency" must be "USD"'),
        ('{"currency": "EUR", "models": []}', '"currency" must be "USD"'),
        ('{"currency": "USD", "models": []}', "the catalog has no models"),
        (catalog(SONNET, SONNET), "claude-sonnet-4-7 is in the catalog twice"),
        (catalog(SONNET).replace('"output":', '"input": "1", "output":'), "names 'input' twice in one object"),
    ],
)
def test_a_file_that_is_no_catalog_is_refused(text: str, line: str) -> None:
    with pytest.raises(CatalogMistake) as refused:
        read_catalog(text)
    assert line in str(refused.value)


def test_the_shipped_catalog_has_what_was_promised() -> None:
    rows = {row.id: row for row in read_catalog(SHIPPED_CATALOG.read_text())}
    assert len(rows) == 16
    assert rows["deepseek-v4-pro"].prices == Prices(input=45_670_000, output=91_350_000, cache_read=380_000)
    assert rows["gpt-5-5"].prices.input == 525_000_000
    assert [model_id for model_id, row in rows.items() if row.columns["cli_only"]] == [
        "claude-opus-4-7-max",
        "claude-opus-4-6-max",
        "claude-opus-4-5-max",
        "claude-sonnet-4-6-max",
        "claude-sonnet-4-5-max",
        "claude-haiku-4-5-max",
    ]
    assert [row.id for row in rows.values() if row.surface == "image"] == ["gpt-image-2"]
