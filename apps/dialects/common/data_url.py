"""Files inside of a request, as data URLs. The payload stays base64, character by character."""

from __future__ import annotations


def split_data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 payload; None for an address, or data that is not base64.

    Shape:  data:image/png;name=a.png;base64,iVBORw0…  ->  ("image/png", "iVBORw0…")
    """
    if url[:5].lower() != "data:":
        return None
    head, comma, payload = url[5:].partition(",")
    media_type, *parameters = (part.strip() for part in head.split(";"))
    if not comma or "base64" not in (parameter.lower() for parameter in parameters):
        return None
    return media_type.lower(), payload


def data_url(media_type: str, payload: str) -> str:
    return f"data:{media_type or 'application/octet-stream'};base64,{payload}"
