"""What a model reads of a request, as text: for a tokenizer, where bytes say too little."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.dialects.common.json_body import UNREADABLE

BULK: Final = ("system", "instructions", "messages", "input", "prompt", "tools", "functions", "response_format", "text")
"""Fields that hold what people and agents wrote; the others tell how to answer."""

_ANY: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(Any)
_PAYLOAD_BLOCKS: Final = frozenset({"image", "document"})
_PAYLOAD_MEDIA: Final = ("image/", "application/pdf")
_PAYLOAD_URLS: Final = ("data:image/", "data:application/pdf")
_PAYLOAD_PARTS: Final = {
    "image_url": "image_url",
    "input_image": "image_url",
    "file": "file",
    "input_file": "file_data",
    "input_audio": "input_audio",
    "image_generation_call": "result",
}
"""Kind of a part -> the member that holds its payload."""
_BARE: Final = frozenset({"result", "input_audio"})
"""Members whose payload is bare base64, no data URL."""


def written_text(fields: Mapping[str, Raw]) -> str:
    """Every field of the request as JSON without escapes that letters do not need, and without the payloads of images
    and documents, which have bounds of their own. No request that says as much has more tokens than this text."""
    return "\n".join(_readable(raw) for raw in fields.values())


def prompt_texts(fields: Mapping[str, Raw]) -> list[str]:
    """What the model reads, about: every string of the bulk fields, one per line. The names of roles and kinds stand
    for what providers put around each message: counted so, a prompt is within 2 % of what OpenAI reports."""
    strings: list[str] = []
    for name in BULK:
        raw = fields.get(name)
        if raw is not None:
            try:
                strings += _strings(_without_payloads(_ANY.decode(raw)))
            except UNREADABLE:
                strings.append(_as_it_is(raw))
    return ["\n".join(strings)]


def _readable(raw: Raw) -> str:
    try:
        return msgspec.json.encode(_without_payloads(_ANY.decode(raw))).decode()
    except (*UNREADABLE, OverflowError):
        return _as_it_is(raw)


def _as_it_is(raw: Raw) -> str:
    """JSON that is too deep to walk through, or has numbers that are too large to write again."""
    return bytes(raw).decode("utf-8", "replace")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from _strings(member)
    elif isinstance(value, list):
        for element in value:
            yield from _strings(element)


def _without_payloads(value: Any) -> Any:
    """The value less the base64 of its images and documents. What only looks like a payload stays: it is text."""
    if isinstance(value, list):
        return [_without_payloads(element) for element in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("type")
    if kind == "tool_use":
        return value  # whatever its input looks like, the model reads it as text
    if kind in _PAYLOAD_BLOCKS:
        return {**value, "source": _without_data(value.get("source"))}
    name = _PAYLOAD_PARTS.get(kind) if isinstance(kind, str) else None
    if name is not None:
        return {**value, name: _without_url(value.get(name), is_bare=name in _BARE)}
    return {name: _without_payloads(member) for name, member in value.items()}


def _without_data(source: Any) -> Any:
    if not isinstance(source, dict):
        return source
    if source.get("type") == "base64" and str(source.get("media_type")).strip().lower().startswith(_PAYLOAD_MEDIA):
        return {**source, "data": ""}
    return {name: _without_payloads(member) for name, member in source.items()}


def _without_url(holder: Any, *, is_bare: bool) -> Any:
    if isinstance(holder, dict):
        return {name: _without_url(member, is_bare=is_bare and name == "data") for name, member in holder.items()}
    if isinstance(holder, str) and (is_bare or holder[:64].lower().startswith(_PAYLOAD_URLS)):
        return ""
    return holder
