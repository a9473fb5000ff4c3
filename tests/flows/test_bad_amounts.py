"""An operator's slip of the hand: an amount or a price that makes no sense is refused and changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from apps.catalog.services import SHIPPED_CATALOG
from tests.flows.rig import CommandFailed, Operator, Person

AMOUNTS = [
    "-1",
    "0",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "1.0000001",
    str(2**63),
    str(2**64 - 5),
    "true",
    "ten",
    "",
]
LIMITS = [amount for amount in AMOUNTS if amount != "0"]


@pytest.mark.parametrize("amount", AMOUNTS)
def test_a_top_up_of_nonsense_changes_nothing(alice: Person, operator: Operator, amount: str) -> None:
    with pytest.raises(CommandFailed):
        operator.run("top_up", alice.account_id, amount, "--reference", f"slip {amount}")
    assert alice.balance == alice.opening_balance
    assert operator.run("verify_ledger")["problems"] == []


@pytest.mark.parametrize("amount", LIMITS)
@pytest.mark.parametrize("option", ["--limit", "--daily", "--hourly"])
def test_a_limit_of_nonsense_changes_nothing(alice: Person, operator: Operator, option: str, amount: str) -> None:
    with pytest.raises(CommandFailed):
        operator.run("set_key", alice.key_id, f"{option}={amount}")
    (key,) = operator.run("list_keys", alice.account_id)["keys"]
    assert {key[name] for name in ("limit", "daily", "hourly")} == {None}


PRICES = ["-1", "NaN", "Infinity", "1e400", "0.000000001", str(2**63), True, [1], {"a": 1}, "ten", ""]


@pytest.mark.parametrize("price", PRICES, ids=str)
@pytest.mark.parametrize("meter", ["input", "cache_read", "output"])
def test_a_price_of_nonsense_leaves_the_catalog_as_it_was(
    operator: Operator, tmp_path: Path, meter: str, price: Any
) -> None:
    catalog = json.loads(SHIPPED_CATALOG.read_text())
    catalog["models"][0]["name"] = "Changed"
    catalog["models"][-1]["usd_per_million_tokens"][meter] = price
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(catalog))
    with pytest.raises(CommandFailed, match="price"):
        operator.run("load_catalog", path)
    # Whole or not at all: the first model kept its name, so that loading the shipped one changes nothing.
    assert operator.run("load_catalog", SHIPPED_CATALOG) == {"models": 16, "created": 0, "repriced": 0}
