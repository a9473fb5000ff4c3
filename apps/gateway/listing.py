"""The catalog, as `GET …/models` shows it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from apps.catalog.cache import ModelSnapshot
from apps.catalog.pricing import Price
from apps.core.errors import rfc3339
from apps.core.money import CREDITS_PER_USD, Credits, json_number

encode = msgspec.json.Encoder(decimal_format="number").encode


def openai_list(models: Sequence[ModelSnapshot]) -> bytes:
    """`{"object": "list", "data": [...]}`."""
    return encode({"object": "list", "data": [openai_model(model) for model in models]})


def openai_model(model: ModelSnapshot) -> dict[str, Any]:
    return {
        "id": model.model_id,
        "object": "model",
        "created": int(model.created_at.timestamp()),
        "owned_by": "hypereal",
        "name": model.name,
        "context_length": model.context_tokens,
        "max_output_tokens": model.max_output_tokens,
        "pricing": pricing(model.price),
        "cli_only": model.cli_only,
        "dialects": list(model.dialects),
        "modalities": {"input": list(model.input_modalities), "output": list(model.output_modalities)},
    }


def pricing(price: Price) -> dict[str, Any]:
    """US$ per million tokens, as people compare them, and the same in credits, as they are billed.

    Server tools: per thousand requests. None: the meter does not exist for this model.
    """
    meters = {
        "input": price.input,
        "cache_read": price.cache_read,
        "cache_write": price.cache_write,
        "cache_write_1h": price.cache_write_1h,
        "output": price.output,
        "server_tool_request": price.server_tool_request,
    }
    return {
        **{name: None if micro is None else _usd(micro) for name, micro in meters.items()},
        "unit": "usd_per_million_tokens",
        "credits_per_million_tokens": {
            name: None if micro is None else json_number(micro) for name, micro in meters.items()
        },
    }


def _usd(micro: int) -> Decimal:
    """Microcredits as US$: an exact decimal, without trailing zeros."""
    return Decimal(str(Credits(micro))) / CREDITS_PER_USD


def anthropic_list(models: Sequence[ModelSnapshot]) -> bytes:
    """Anthropic's shape: one page of everything."""
    data = [
        {
            "type": "model",
            "id": model.model_id,
            "display_name": model.name,
            "created_at": rfc3339(model.created_at),
            "max_input_tokens": model.context_tokens,
            "max_tokens": model.max_output_tokens,
        }
        for model in models
    ]
    return encode(
        {
            "data": data,
            "has_more": False,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }
    )
