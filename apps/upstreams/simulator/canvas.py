"""How large an image is wanted and what it counts, in the words of each dialect."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from apps.upstreams.simulator import png, reading
from apps.upstreams.simulator.prompt import Canvas, Refusal

_SIDES: Final = {"512": 512, "1K": 1_024, "2K": 2_048, "4K": 4_096}
_TOKENS: Final = {"512": 747, "1K": 1_120, "2K": 1_120, "4K": 2_000}
_RATIO: Final = re.compile(r"(\d{1,2}):(\d{1,2})")
_SIZE: Final = re.compile(r"(\d{2,4})x(\d{2,4})")
GRAIN: Final = 32
"""Sides are multiples of this."""

QUALITY_TOKENS: Final = {"low": 272, "medium": 1_056, "high": 4_160, "auto": 1_056}
"""For 1024 x 1024; other sizes in proportion to their area, up to QUALITY_MOST_TOKENS."""

QUALITY_MOST_TOKENS: Final = {"low": 400, "medium": 1_584, "high": 6_208, "auto": 1_584}

MAX_IMAGES: Final = 10
MAX_IMAGES_SIDE: Final = 2_048
"""For the Images API, which may ask for ten at once."""


def for_chat(fields: Mapping[str, Any]) -> Canvas | None:
    """`modalities` with an image in it, and `image_config`."""
    modalities = fields.get("modalities")
    if not isinstance(modalities, list) or "image" not in modalities:
        return None
    config = reading.mapping(fields.get("image_config"))
    return _shaped(
        str(config.get("image_size") or "1K"),
        str(config.get("aspect_ratio") or "1:1"),
        has_text="text" in modalities,
        param="image_config",
    )


def for_gemini(config: Mapping[str, Any]) -> Canvas | None:
    """`generationConfig.responseModalities` and its `imageConfig`."""
    modalities = config.get("responseModalities")
    if not isinstance(modalities, list) or not any(str(name).upper() == "IMAGE" for name in modalities):
        return None
    image = reading.mapping(config.get("imageConfig"))
    return _shaped(
        str(image.get("imageSize") or "1K"),
        str(image.get("aspectRatio") or "1:1"),
        has_text=any(str(name).upper() == "TEXT" for name in modalities),
        param="image_config",
    )


def for_images(fields: Mapping[str, Any]) -> Canvas:
    """The Images API's `size`, `quality` and `n`."""
    quality = fields.get("quality") or "auto"
    if quality not in QUALITY_TOKENS:
        supported = ", ".join(f"'{name}'" for name in QUALITY_TOKENS)
        raise Refusal(
            f"Invalid value: '{quality}'. Supported values are: {supported}.", param="quality", code="invalid_value"
        )
    size = str(fields.get("size") or "auto")
    match = _SIZE.fullmatch("1024x1024" if size == "auto" else size)
    if match is None or not all(GRAIN <= int(side) <= MAX_IMAGES_SIDE for side in match.groups()):
        raise Refusal(f"Invalid value: '{size}'.", param="size", code="invalid_value")
    width, height = int(match[1]), int(match[2])
    return Canvas(
        width=width,
        height=height,
        tokens=min(QUALITY_TOKENS[quality] * width * height // 1_024**2, QUALITY_MOST_TOKENS[quality]),
        n=reading.integer(fields, "n", least=1, most=MAX_IMAGES) or 1,
        has_text=False,
    )


def _shaped(size: str, ratio: str, *, has_text: bool, param: str) -> Canvas:
    """A canvas of the size's area in the ratio's shape."""
    match = _RATIO.fullmatch(ratio)
    if size not in _SIDES or match is None or not (int(match[1]) and int(match[2])):
        raise Refusal(f"Invalid image size '{size}' or aspect ratio '{ratio}'.", param=param, code="invalid_value")
    stretch = math.sqrt(int(match[1]) / int(match[2]))
    side = _SIDES[size]
    return Canvas(_rounded(side * stretch), _rounded(side / stretch), _TOKENS[size], has_text=has_text)


def _rounded(side: float) -> int:
    return max(GRAIN, min(png.MAX_SIDE, round(side / GRAIN) * GRAIN))
