"""Fields that a caller may not set, as data: what would change the price, the model, or whose data is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

import msgspec
from msgspec import Raw

from apps.core.errors import GatewayError
from apps.dialects.common.json_body import given, nested, read_any, read_list
from apps.dialects.protocol import Modifier, UnknownState, UnsupportedField


class Why(Enum):
    """Why a field is refused; the value ends the sentence that the caller reads."""

    PRICE = "it changes what a call costs"
    MODEL = "it changes which model answers"
    STATE = "it names data that a provider keeps"
    """By an id that nobody can have from us: not refused but not found."""
    REACH = "it reaches beyond this request"
    UNPRICED_TOOL = "this gateway has no price for that tool"
    UNPRICED_INPUT = "input that the body does not contain cannot be priced"
    UNPRICED_KIND = "this gateway has no price for input or output of that kind"


@dataclass(frozen=True, slots=True)
class Refusal:
    why: Why
    allowed: tuple[str, ...] = ()
    """Values that cost nothing extra. Those that say nothing (null, false, empty) are always allowed."""
    is_priceable: bool = False
    """Another word is a price modifier: an operator may price it, by field and word."""


Table = Mapping[str, Refusal]

COUNTS: Final = ("n", "best_of", "candidate_count", "num_return_sequences", "num_completions")
MAXIMA: Final = (
    "max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "max_tokens_to_sample", "max_length",
    "n_predict", "num_predict",
)  # fmt: skip
"""How many answers and how long: what bounds the output at some provider, under each of its names."""


_MODEL: Final = (
    "models", "model_list", "compound_custom", "deployment_id", "adapter_id", "lora_request",
    "fallback", "fallbacks", "fallback_model", "fallback_models", "advisor", "advisor_model",
    "provider", "custom_llm_provider", "route", "plugins", "transforms", "preset",
    "api_base", "base_url",
)  # fmt: skip
_REACH: Final = (
    "mcp_servers", "data_sources", "kv_transfer_params", "chat_template", "api_key", "extra_headers", "extra_query",
)  # fmt: skip
_PRICE: Final = ("background", "deferred", "prediction", "use_beam_search", "search_parameters", "audio")
_STATE: Final = ("conversation", "container", "file_ids", "vector_store_ids", "cached_content", "cachedContent")
EVERYWHERE: Final[Table] = {
    **{name: Refusal(Why.MODEL) for name in _MODEL},
    **{name: Refusal(Why.REACH) for name in _REACH},
    **{name: Refusal(Why.PRICE) for name in _PRICE},
    **{name: Refusal(Why.STATE) for name in _STATE},
}
"""What some provider, proxy or server of open models would obey, whatever the dialect."""
NESTS: Final = ("extra_body", "google")
"""Where fields of the top level may hide: Gemini's endpoint of chat reads `extra_body.google`."""


def but_for(*own: str) -> Table:
    """Refuse every name of a count or a maximum that is not this dialect's own: an upstream that knew it would write
    more than was held for."""
    return {name: Refusal(Why.PRICE) for name in (*COUNTS, *MAXIMA) if name not in own}


_LONGEST_ALLOWED: Final = 40
"""Bytes: a longer value is on no list and needs no reading."""


def refuse(field: str, why: Why) -> GatewayError:
    if why is Why.STATE:
        return UnknownState(field)
    return UnsupportedField(f"`{field}` is not supported here: {why.value}.", param=field)


def check_fields(fields: Mapping[str, Raw], table: Table) -> tuple[Modifier, ...]:
    """Return the price modifiers that an operator may have priced.

    Raises: UnsupportedField or UnknownState, naming the first field of the table that says something it may not.
    """
    modifiers = list(_check_level(fields, table))
    for name in NESTS:
        fields = nested(fields, name)
        modifiers += _check_level(fields, table)
    return tuple(modifiers)


def _check_level(fields: Mapping[str, Raw], table: Table) -> Iterator[Modifier]:
    for name in sorted(table.keys() & fields.keys()):
        raw = given(fields, name)
        if raw is None:
            continue
        refusal = table[name]
        if refusal.why is Why.STATE and (made := nested(fields, name)) and given(made, "id") is None:
            # Nothing that was made, but something to make: a container with skills in it.
            raise refuse(name, Why.REACH)
        if len(memoryview(raw)) > _LONGEST_ALLOWED:
            raise refuse(name, refusal.why)
        value = read_any(raw, name)
        if not value or (isinstance(value, str) and value in refusal.allowed):
            continue
        if not refusal.is_priceable or not isinstance(value, str):
            raise refuse(name, refusal.why)
        yield Modifier(name, value)


def refuse_modifier(modifier: Modifier) -> GatewayError:
    """A price modifier that nobody priced for this model."""
    return refuse(modifier.field, Why.PRICE)


class ToolHead(msgspec.Struct):
    """As much of an offered tool as decides whether it may be offered."""

    type: str | None = None
    max_uses: Raw = Raw(b"null")


_TOOLS: Final = msgspec.json.Decoder(list[ToolHead])


def read_tools(raw: Raw, name: str) -> list[ToolHead]:
    """Raises: InvalidRequest, where `tools` is no list of objects."""
    return read_list(_TOOLS, raw, name)


def refuse_tool(name: str, index: int) -> GatewayError:
    return refuse(f"{name}[{index}].type", Why.UNPRICED_TOOL)
