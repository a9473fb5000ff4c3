"""Files inside of a request, as data URLs. The payload stays base64, character by character."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

MAX_HEAD_CHARS: Final = 512
"""Media type and parameters end within this."""


def split_data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 payload; None for an address, or data that is not base64.

    Shape:  data:image/png;name=a.png;base64,iVBORw0…  ->  ("image/png", "iVBORw0…")
    """
    if url[:5].lower() != "data:":
        return None
    comma = url.find(",", 5, MAX_HEAD_CHARS)
    media_type, *parameters = (part.strip() for part in url[5 : max(comma, 0)].split(";"))
    if comma < 0 or "base64" not in (parameter.lower() for parameter in parameters):
        return None
    # Payloads are megabytes: this slice is the only copy.
    return media_type.lower(), url[comma + 1 :]


def data_url(media_type: str, payload: str | Raw) -> str | Raw:
    """The URL; of a raw JSON string, a raw JSON string."""
    head = f"data:{media_type or 'application/octet-stream'};base64,"
    if isinstance(payload, str):
        return head + payload
    return Raw(b"".join((msgspec.json.encode(head)[:-1], memoryview(payload)[1:])))
