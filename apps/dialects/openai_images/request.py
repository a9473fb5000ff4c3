"""Read an image generation request, and write the body that goes upstream."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from apps.dialects.common.json_body import (
    Fields,
    open_body,
    read_count,
    read_flag,
    read_model,
    read_text,
)
from apps.dialects.common.refused import EVERYWHERE, Refusal, Table, Why, but_for, check_fields, refuse
from apps.dialects.common.upstream import start_body
from apps.dialects.protocol import Demand, InvalidRequest, Request

MAX_IMAGES: Final = 10
MAX_PARTIAL_IMAGES: Final = 3
MAX_PIXELS: Final = 1536 * 1024
"""The largest image whose tokens the catalog's `image_output_tokens` bound."""

# `background` is how an image is laid on its ground.
REFUSED: Final[Table] = {
    **{name: row for name, row in EVERYWHERE.items() if name != "background"},
    **but_for("n"),
    "service_tier": Refusal(Why.PRICE, allowed=("auto", "default", "standard"), is_priceable=True),
    "speed": Refusal(Why.PRICE, allowed=("standard",), is_priceable=True),
    "previous_response_id": Refusal(Why.STATE),
    "image": Refusal(Why.UNPRICED_KIND),
    "images": Refusal(Why.UNPRICED_KIND),
    "image_url": Refusal(Why.UNPRICED_KIND),
    "mask": Refusal(Why.UNPRICED_KIND),
}

QUALITIES: Final = {"low": "low", "medium": "medium", "high": "high", "auto": "auto", "standard": "auto", "hd": "high"}
"""What callers ask for -> what the models know; the last two are names of an earlier generation."""

LEFT_OUT: Final = ("response_format", "style")
"""Fields of an earlier generation, which the models refuse."""

_SIZE: Final = re.compile(r"(\d{1,5})x(\d{1,5})")


def parse(body: bytes) -> Request:
    fields = open_body(body)
    modifiers = check_fields(fields, REFUSED)
    model_id = read_model(fields)
    if not read_text(fields, "prompt"):
        raise InvalidRequest("`prompt` must be a non-empty string.", param="prompt")
    n = read_count(fields, "n", most=MAX_IMAGES) or 1
    is_stream = read_flag(fields, "stream")
    if is_stream and n > 1:
        raise InvalidRequest("`n` must be 1 where `stream` is true.", param="n")
    drafts = read_count(fields, "partial_images", least=0, most=MAX_PARTIAL_IMAGES) or 0
    _check_size(fields)
    quality = read_text(fields, "quality") or "auto"
    if quality not in QUALITIES:
        raise refuse("quality", Why.PRICE)
    return Request(
        model_id=model_id,
        fields=fields,
        modifiers=modifiers,
        demand=Demand(text_bytes=len(body)),
        is_stream=is_stream,
        n=n,
        image_size=QUALITIES[quality],
        makes_images=True,
        drafts=drafts,
        adapted=_adaptations(fields, quality),
    )


def upstream_body(request: Request, *, upstream_model: str) -> bytes:
    """See `Dialect.upstream_body`. What the models refuse is left out; they reply with base64 always."""
    fields = start_body(request, upstream_model=upstream_model)
    for name in LEFT_OUT:
        fields.pop(name, None)
    fields["n"] = request.n
    if "quality" in fields:
        fields["quality"] = request.image_size
    return msgspec.json.encode(fields)


def _check_size(fields: Fields) -> None:
    size = read_text(fields, "size") or "auto"
    sides = _SIZE.fullmatch(size)
    if size != "auto" and (sides is None or int(sides[1]) * int(sides[2]) > MAX_PIXELS):
        raise refuse("size", Why.PRICE)


def _adaptations(fields: Fields, quality: str) -> tuple[str, ...]:
    adapted = []
    if QUALITIES[quality] != quality:
        adapted.append(f"quality: {quality} -> {QUALITIES[quality]}")
    adapted += [f"{name}: left out" for name in LEFT_OUT if read_text(fields, name) is not None]
    return tuple(adapted)
