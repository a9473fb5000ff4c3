"""The catalog, as `GET …/models` shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from apps.catalog.cache import ModelSnapshot
from apps.catalog.pricing import Price
from apps.core.errors import rfc3339
from apps.core.money import CREDITS_PER_USD, Credits, json_number
from apps.dialects.protocol import InvalidRequest

encode = msgspec.json.Encoder(decimal_format="number").encode
Show = Callable[[ModelSnapshot], dict[str, Any]]

MAX_LIMIT: Final = 1_000
MAX_QUERY_CHARS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for, in Anthropic's words."""

    limit: int = MAX_LIMIT
    after_id: str = ""
    before_id: str = ""

    def of(self, ids: Sequence[str]) -> tuple[frozenset[str], bool]:
        """The ids of this page, and whether there are more in its direction. An unknown cursor is the list's end."""
        if self.before_id:
            until = ids.index(self.before_id) if self.before_id in ids else 0
            start = max(0, until - self.limit)
            return frozenset(ids[start:until]), start > 0
        start = 0
        if self.after_id:
            start = ids.index(self.after_id) + 1 if self.after_id in ids else len(ids)
        return frozenset(ids[start : start + self.limit]), start + self.limit < len(ids)


def read_page(query: bytes) -> Page:
    """`?limit=20&after_id=…`. Raises: InvalidRequest."""
    asked = dict(parse_qsl(query.decode("latin-1")[:MAX_QUERY_CHARS]))
    limit = asked.get("limit", str(MAX_LIMIT))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MAX_LIMIT):
        raise InvalidRequest(f"`limit` must be an integer from 1 to {MAX_LIMIT}.", param="limit")
    return Page(int(limit), asked.get("after_id", ""), asked.get("before_id", ""))


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


def anthropic_model(model: ModelSnapshot) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model.model_id,
        "display_name": model.name,
        "created_at": rfc3339(model.created_at),
        "max_input_tokens": model.context_tokens,
        "max_tokens": model.max_output_tokens,
    }


def both(model: ModelSnapshot) -> dict[str, Any]:
    """For Anthropic's clients on the paths where OpenAI's shape is promised."""
    return {**openai_model(model), **anthropic_model(model)}


def openai_list(models: Sequence[ModelSnapshot]) -> dict[str, Any]:
    return {"object": "list", "data": [openai_model(model) for model in models]}


def paged_list(models: Sequence[ModelSnapshot], page: Page, *, show: Show) -> dict[str, Any]:
    """Anthropic's list: a page of it, of everything where nothing less was asked for."""
    ids, has_more = page.of([model.model_id for model in models])
    data = [show(model) for model in models if model.model_id in ids]
    return {
        "data": data,
        "has_more": has_more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }
