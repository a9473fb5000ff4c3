"""How a request's fields are read: each function returns what it says or refuses with the field's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from apps.upstreams.simulator.prompt import CacheTtl, Refusal

MAX_STOPS: Final = 16

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def read_body(body: bytes) -> dict[str, Any]:
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError) as mistake:
        raise Refusal(f"We could not parse the JSON body of your request: {mistake}") from None


def text(fields: Mapping[str, Any], name: str) -> str:
    """A required text that says something."""
    value = fields.get(name)
    if value is None:
        raise Refusal(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    if not isinstance(value, str) or not value:
        raise _wrong_type(name, "a non-empty string")
    return value


def flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise _wrong_type(name, "a boolean")
    return value


def integer(fields: Mapping[str, Any], name: str, *, least: int, most: int | None = None) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(name, "an integer")
    if value < least or (most is not None and value > most):
        limits = f"at least {least}" if most is None else f"between {least} and {most}"
        raise Refusal(f"Invalid '{name}': expected a value {limits}, but got {value} instead.", param=name)
    return value


def check_range(fields: Mapping[str, Any], name: str, *, most: float) -> None:
    """A tuning number from 0 to `most`."""
    value = fields.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(name, "a number")
    if not 0 <= value <= most:
        raise Refusal(f"Invalid '{name}': expected a value between 0 and {most}, but got {value} instead.", param=name)


def objects(value: Any, name: str, *, is_required: bool = False) -> list[dict[str, Any]]:
    """A list of objects; absent is empty unless it is required (then empty is refused too)."""
    if value is None and is_required:
        raise Refusal(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _wrong_type(name, "an array of objects")
    if is_required and not value:
        raise Refusal(f"Invalid '{name}': empty array. Expected an array with minimum length 1.", param=name)
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """An optional object; anything else counts as absent."""
    return value if isinstance(value, dict) else {}


def stops(value: Any, name: str) -> tuple[str, ...]:
    if value is None:
        return ()
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed) or len(listed) > MAX_STOPS:
        raise _wrong_type(name, f"a string or an array of at most {MAX_STOPS} strings")
    return tuple(item for item in listed if item)


def cache_ttl(part: Mapping[str, Any], name: str) -> CacheTtl | None:
    """The time to live of a block's `cache_control`, None without one."""
    control = part.get("cache_control")
    if control is None:
        return None
    said = mapping(control)
    match said.get("type"), said.get("ttl", "5m"):
        case "ephemeral", "5m":
            return "5m"
        case "ephemeral", "1h":
            return "1h"
    raise Refusal(f"{name}.cache_control: expected type 'ephemeral' with a ttl of '5m' or '1h'", param=name)


def canonical(value: Any) -> bytes:
    """JSON as the model reads it: the order of keys is the caller's, as it is for a provider's cache."""
    if isinstance(value, dict) and "cache_control" in value:
        # A breakpoint says where a prefix ends; it is no part of it.
        value = {name: part for name, part in value.items() if name != "cache_control"}
    return msgspec.json.encode(value)


def _wrong_type(name: str, wanted: str) -> Refusal:
    return Refusal(f"Invalid type for '{name}': expected {wanted}.", param=name, code="invalid_type")
