"""What a model's parts say, and whose signatures they carry.

A signature of a thought seals it. One of a call, a text or an image stands in a thought of its own beside the part, and
names it: `text:0` and `image:1` count within the answer, `end:0` is an empty part behind a text, a call has its id.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.core.ids import new_id
from apps.dialects.common.json_body import NULL, first_byte, is_null
from apps.dialects.hub.conversation import Image, Thinking
from apps.dialects.hub.reasoning import ENCRYPTED, GEMINI, Seal

TEXT: Final = "text:"
END: Final = "end:"
PICTURE: Final = "image:"


class FunctionCall(msgspec.Struct, rename="camel", gc=False):
    name: str | None = None
    args: Raw = NULL
    id: str | None = None
    partial_args: list[dict[str, Any]] | None = None
    will_continue: bool | None = None


class InlineData(msgspec.Struct, rename="camel", gc=False):
    data: Raw = Raw(b'""')
    mime_type: str | None = None


def image_of(inline: InlineData) -> Image:
    """Raises: ValueError, where the data is no string."""
    if first_byte(inline.data) != b'"':
        raise ValueError("inline data that is no string")
    return Image(inline.mime_type or "", inline.data)


class Part(msgspec.Struct, rename="camel", gc=False):
    """One part. Code that the provider ran itself, and kinds to come, say nothing here."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    inline_data: InlineData | None = None


def arguments_of(call: FunctionCall) -> str:
    """The JSON text as it came; empty where there are none."""
    return "" if is_null(call.args) else bytes(call.args).decode()


def new_call_id() -> str:
    """For calls that come without an id: results have to name theirs."""
    return f"call_{new_id().hex}"


def signature_of(part: str, payload: str) -> Thinking:
    """A thought without text that carries the signature of a part beside it."""
    return Thinking(seal=Seal(GEMINI, ENCRYPTED, payload, part))
