"""Content parts of chat messages, and what stands around them: both ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw

from apps.dialects.common.data_url import data_url, split_data_url
from apps.dialects.common.json_body import first_byte, is_null, read, read_list
from apps.dialects.common.refused import Why, refuse
from apps.dialects.hub.abilities import unsupported
from apps.dialects.hub.conversation import CacheMark, Document, Image, Refusal, Text
from apps.dialects.protocol import InvalidRequest

ContentPart = Text | Image | Document | Refusal
Marks = Literal["none", "cache_control", "prompt_cache_breakpoint"]
"""How an upstream wants cache breakpoints told."""

HOUR: Final = "1h"
HALF_DAY: Final = "12h"
TTLS: Final = ("5m", HOUR)


class Mark(msgspec.Struct):
    ttl: str | None = None


class _ImageURL(msgspec.Struct):
    url: str
    detail: str | None = None


class _File(msgspec.Struct):
    file_data: str | None = None
    filename: str | None = None


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | _ImageURL | None = None
    file: _File | None = None
    cache_control: Mark | None = None
    prompt_cache_breakpoint: Mark | None = None


_PARTS: Final = msgspec.json.Decoder(list[_Part])
_TEXT: Final = msgspec.json.Decoder(str)
_IMAGES: Final = msgspec.json.Decoder(list[_Part])


def read_content(raw: Raw, field: str) -> list[ContentPart]:
    """A message's content: a string, or a list of parts.

    Raises: InvalidRequest, UnsupportedField.
    """
    if is_null(raw):
        return []
    if first_byte(raw) == b'"':
        text = read(_TEXT, raw, field, "a string or a list of parts")
        return [Text(text)] if text else []
    return [read_part(part, f"{field}[{index}]") for index, part in enumerate(read_list(_PARTS, raw, field))]


def read_images(raw: Raw, field: str) -> list[Image]:
    """`images` of an assistant's message: what the model drew earlier."""
    if is_null(raw):
        return []
    return [read_image(part, f"{field}[{index}]") for index, part in enumerate(read_list(_IMAGES, raw, field))]


def read_part(part: _Part, field: str) -> ContentPart:
    mark = read_mark(part.cache_control, part.prompt_cache_breakpoint)
    match part.type:
        case "text" | "input_text" | "output_text":
            return Text(part.text or "", mark)
        case "refusal":
            return Refusal(part.refusal or "")
        case "image_url":
            return read_image(part, field, mark)
        case "file":
            return _read_file(part, field, mark)
    raise unsupported(f"{field}.type")


def read_image(part: _Part, field: str, mark: CacheMark | None = None) -> Image:
    image = part.image_url
    if image is None:
        raise InvalidRequest(f"`{field}` must be an image part with `image_url`.", param=field)
    if isinstance(image, str):
        image = _ImageURL(image)
    found = split_data_url(image.url)
    detail = image.detail or ""
    if found is None:
        return Image(url=image.url, detail=detail, cache=mark)
    media_type, data = found
    return Image(media_type, data, detail=detail, cache=mark)


def _read_file(part: _Part, field: str, mark: CacheMark | None) -> Document:
    data = None if part.file is None else part.file.file_data
    found = None if data is None else split_data_url(data)
    if part.file is None or found is None:
        raise refuse(f"{field}.file.file_data", Why.UNPRICED_INPUT)
    media_type, payload = found
    return Document(media_type, payload, name=part.file.filename or "", cache=mark)


def read_mark(*marks: Mark | None) -> CacheMark | None:
    """A cache breakpoint out of `cache_control` or `prompt_cache_breakpoint`. The latter lives for half an hour, which
    is its provider's default, or for half a day."""
    for mark in marks:
        if mark is not None:
            ttl = HOUR if mark.ttl == HALF_DAY else mark.ttl
            return CacheMark(ttl if ttl in TTLS else "")
    return None


def put_mark(shown: dict[str, Any], mark: CacheMark | None, marks: Marks) -> None:
    """Set a cache breakpoint behind what is shown, in the word that the upstream knows."""
    if mark is None or marks == "none":
        return
    if marks == "prompt_cache_breakpoint":
        # Half an hour, or half a day: what is to live for an hour needs the latter.
        shown[marks] = {"mode": "explicit", "ttl": HALF_DAY} if mark.ttl == HOUR else {"mode": "explicit"}
    else:
        shown[marks] = {"type": "ephemeral", "ttl": mark.ttl} if mark.ttl else {"type": "ephemeral"}


def image_object(image: Image) -> dict[str, Any]:
    shown: dict[str, Any] = {"url": image.url or data_url(image.media_type, image.data)}
    if image.detail:
        shown["detail"] = image.detail
    return {"type": "image_url", "image_url": shown}


def write_part(part: Text | Image | Document, field: str, *, marks: Marks) -> dict[str, Any]:
    """One content part. Raises: UnsupportedField, for a document by address: chat takes the file itself."""
    shown: dict[str, Any]
    if isinstance(part, Text):
        shown = {"type": "text", "text": part.text}
    elif isinstance(part, Image):
        shown = image_object(part)
    elif part.text is not None:
        shown = {"type": "text", "text": f"{part.name}\n{part.text}" if part.name else part.text}
    elif part.data:
        file = {"filename": part.name or "document", "file_data": data_url(part.media_type, part.data)}
        shown = {"type": "file", "file": file}
    else:
        raise unsupported(field)
    put_mark(shown, part.cache, marks)
    return shown


def write_content(parts: Sequence[Text | Image | Document], field: str, *, marks: Marks) -> str | list[dict[str, Any]]:
    """A string where one text says it all, which every provider reads; else a list of parts."""
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(only := parts[0], Text) and (only.cache is None or marks == "none"):
        return only.text
    return [write_part(part, field, marks=marks) for part in parts]
