"""Meter a plain image reply, whose images may be megabytes of base64: only their number is read."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from apps.dialects.common.json_body import NULL
from apps.dialects.common.json_reply import ReplyFields, decode, open_fields, render
from apps.dialects.common.scrub import failure_message
from apps.dialects.openai_images.usage import read_usage
from apps.dialects.protocol import Reply


class _Image(msgspec.Struct):
    b64_json: Raw = NULL
    url: Raw = NULL


class _Images(msgspec.Struct):
    data: list[_Image] | None = None
    usage: Raw = NULL
    error: object = None


_IMAGES: Final = msgspec.json.Decoder(_Images)


def read_reply(body: bytes) -> Reply:
    """Raises: ValueError, where the body is no image reply and no error."""
    try:
        reply = _IMAGES.decode(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if reply.error:
        return Reply(usage=None, failure=failure_message(reply.error))
    if reply.data is None:
        raise ValueError("no data")
    if not reply.data:
        return Reply(usage=None, failure="The upstream returned no image.")
    return Reply(usage=read_usage(decode(reply.usage)), images=len(reply.data))


def render_reply(body: bytes, *, model_id: str | None, hypereal: bytes) -> bytes:
    """This dialect's replies name no model; where a provider's does, it is the caller's."""
    fields: ReplyFields = open_fields(body)
    if model_id is not None and "model" in fields:
        fields["model"] = model_id
    fields["hypereal"] = Raw(hypereal)
    return render(fields)
