"""Read and re-render an upstream's reply at its top level; what lies below travels as it came."""

from __future__ import annotations

from typing import Any, Final, TypeVar, cast

import msgspec
from msgspec import Raw

T = TypeVar("T")
ReplyFields = dict[str, object]
"""Raw values as they came, and those that we set."""

_FIELDS: Final = cast("msgspec.json.Decoder[ReplyFields]", msgspec.json.Decoder(dict[str, Raw]))
_ANY: Final = msgspec.json.Decoder(dict[str, Any])
_VALUE: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(Any)
_ENCODER: Final = msgspec.json.Encoder()


def open_reply(body: bytes) -> dict[str, Any]:
    """The whole reply as Python objects. Raises: ValueError, where it is no JSON object."""
    try:
        return _ANY.decode(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def open_fields(data: bytes | Raw) -> ReplyFields:
    """The top level of a JSON object with raw values. Raises: ValueError, where it is none."""
    try:
        return _FIELDS.decode(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def decode_as(decoder: msgspec.json.Decoder[T], raw: object) -> T:
    """One raw value of a reply in the decoder's type. Raises: ValueError."""
    return decoder.decode(cast("Raw", raw))


def decode(raw: object) -> Any:
    """One raw value of a reply as Python objects. Raises: ValueError."""
    return _VALUE.decode(cast("Raw", raw))


def render(fields: ReplyFields) -> bytes:
    return _ENCODER.encode(fields)


def with_hypereal(body: bytes, *, model_id: str | None, hypereal: bytes) -> bytes:
    """The reply with the caller's model id and the `hypereal` object at its top level."""
    fields = open_fields(body)
    if model_id is not None:
        fields["model"] = model_id
    fields["hypereal"] = Raw(hypereal)
    return render(fields)
