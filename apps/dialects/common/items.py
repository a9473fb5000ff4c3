"""Count what a body's text does not show: images and document pages, whose payloads are not text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Raw

from apps.dialects.common.json_body import first_byte, read, read_list
from apps.dialects.common.refused import Why, refuse
from apps.dialects.protocol import Demand, InvalidRequest

MAX_PAGES: Final = 100
"""Providers read at most this many pages of one document."""
MIN_BYTES_PER_PAGE: Final = 2_000
"""No PDF page worth its tokens is smaller; so a file's size bounds its pages."""

_HEADER_BYTES: Final = 256
"""A data URL's header (media type, parameters) ends within this."""
_TEXT_MEDIA: Final = ("text/", "application/json", "application/xml")


class Part(msgspec.Struct):
    """A content part's kind, and its nested content where it has any (`tool_result`)."""

    type: str | None = None
    content: Raw = Raw(b"null")


class _Sound(msgspec.Struct):
    data: Raw = Raw(b"null")


class _Audio(msgspec.Struct):
    input_audio: _Sound


_AUDIO: Final = msgspec.json.Decoder(_Audio)
_PARTS: Final = msgspec.json.Decoder(list[Part])
_RAW_PARTS: Final = msgspec.json.Decoder(list[Raw])


@dataclass(slots=True)
class Tally:
    """What was counted so far. `payload_bytes` is the length of base64 data as it stands in the body."""

    images: int = 0
    pages: int = 0
    audio_parts: int = 0
    audio_field: str = ""
    payload_bytes: int = 0

    def demand(self, body_bytes: int, *, server_tool_uses: int = 0) -> Demand:
        return Demand(
            text_bytes=body_bytes - self.payload_bytes,
            images=self.images,
            document_pages=self.pages,
            audio_parts=self.audio_parts,
            audio_field=self.audio_field,
            server_tool_uses=server_tool_uses,
        )

    def add_audio(self, item: Raw, field: str) -> None:
        """One audio part; whether the model takes any is not known yet.

        Raises: InvalidRequest, where it has no `input_audio` with base64 data.
        """
        data = read(_AUDIO, item, field, "an audio part with `input_audio`").input_audio.data
        if first_byte(data) != b'"':
            raise InvalidRequest(f"`{field}.input_audio.data` must be a string.", param=f"{field}.input_audio.data")
        self.audio_parts += 1
        self.audio_field = self.audio_field or f"{field}.type"
        self.payload_bytes += string_bytes(data)

    def add_image(self, payload_bytes: int) -> None:
        self.images += 1
        self.payload_bytes += payload_bytes

    def add_image_url(self, raw: Raw, field: str) -> None:
        """One image by https or data URL.

        Raises: InvalidRequest where it is no string, UnsupportedField for any other scheme.
        """
        scheme, payload_bytes = split_url(raw, field)
        if scheme not in (b"http", b"https", b"data"):
            raise refuse(field, Why.UNPRICED_INPUT)
        self.add_image(payload_bytes)

    def add_data_url(self, raw: Raw, field: str) -> None:
        """One document as a data URL.

        Raises: InvalidRequest where it is no string, UnsupportedField for an address or another kind of file.
        """
        scheme, payload_bytes = split_url(raw, field)
        if scheme != b"data":
            raise refuse(field, Why.UNPRICED_INPUT)
        self.add_document(media_type_of(raw), payload_bytes, field)

    def add_document(self, media_type: str, payload_bytes: int, field: str) -> None:
        """One document as base64: a PDF by its pages; text stays in the text's bytes, where base64 only adds.

        Raises: UnsupportedField, for any other kind of file.
        """
        if media_type == "application/pdf":
            decoded_bytes = payload_bytes * 3 // 4
            self.pages += min(MAX_PAGES, max(1, decoded_bytes // MIN_BYTES_PER_PAGE + 1))
            self.payload_bytes += payload_bytes
        elif not media_type.startswith(_TEXT_MEDIA):
            raise refuse(field, Why.UNPRICED_KIND)


def string_bytes(raw: Raw) -> int:
    """Length of a JSON string between its quotes, as it stands in the body."""
    return max(0, len(memoryview(raw)) - 2)


def split_url(raw: Raw, field: str) -> tuple[bytes, int]:
    """The scheme in lower case, and the bytes of a data URL's payload (0 for any other).

    Raises: InvalidRequest, where `raw` is no string.
    """
    if first_byte(raw) != b'"':
        raise InvalidRequest(f"`{field}` must be a string.", param=field)
    head = bytes(memoryview(raw)[:_HEADER_BYTES])
    scheme = head[1:].partition(b":")[0].lower()
    comma = head.find(b",")
    return scheme, string_bytes(raw) - comma if scheme == b"data" and comma > 0 else 0


def media_type_of(raw: Raw) -> str:
    """`application/pdf` of a data URL `data:application/pdf;base64,…`."""
    head = bytes(memoryview(raw)[1:_HEADER_BYTES]).decode("utf-8", "replace").replace("\\/", "/")
    return head.partition(":")[2].partition(",")[0].partition(";")[0].strip().lower()


def read_parts(raw: Raw, field: str) -> list[Part]:
    """The parts of a content array; none where the content is a string or null.

    Raises: InvalidRequest, where it is malformed.
    """
    if first_byte(raw) != b"[":
        return []
    return read_list(_PARTS, raw, field)


def pick(raw: Raw, indexes: Iterable[int], field: str) -> list[tuple[int, Raw]]:
    """Those elements of an array, raw."""
    wanted = set(indexes)
    parts = read_list(_RAW_PARTS, raw, field)
    return [(index, part) for index, part in enumerate(parts) if index in wanted]
