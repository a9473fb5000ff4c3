"""Items of this protocol, read as far as the hub has words for them: the same shapes go in and come out."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.dialects.common.data_url import split_data_url
from apps.dialects.common.json_body import NULL
from apps.dialects.hub.conversation import CacheMark, Document, Image, Refusal, Text, Thinking
from apps.dialects.hub.reasoning import ENCRYPTED, OPENAI, SIGNATURE, Seal, unwrap

OUR_THOUGHT: Final = "rs_hypereal"
"""Begins the ids of reasoning that no provider of this protocol made: none of them takes it back."""

SUMMARY_GAP: Final = "\n\n"
"""Between the parts of a summary, which are paragraphs with headings of their own."""

LONG_TTL: Final = "12h"
HOUR: Final = "1h"
"""This protocol's long life of a cached prefix, and that of others."""

HOSTED: Final = frozenset(
    {"web_search_call", "file_search_call", "code_interpreter_call", "x_search_call", "collections_search_call",
     "mcp_list_tools", "mcp_call", "mcp_approval_request", "mcp_approval_response", "tool_search_call",
     "tool_search_output", "program", "program_output", "compaction_trigger", "configuration_update", "exec"}
)  # fmt: skip
"""What a provider did on its own account: no part of what was said, so other protocols go without it."""


class Head(msgspec.Struct):
    type: str | None = None
    role: str | None = None


class Breakpoint(msgspec.Struct):
    ttl: str | None = None


class Part(msgspec.Struct):
    """A content part of a message, a tool's output or a reasoning item."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    image_url: str | None = None
    detail: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    prompt_cache_breakpoint: Breakpoint | None = None


class Message(msgspec.Struct):
    role: str = "assistant"
    content: str | list[Part] | None = None


class Call(msgspec.Struct):
    """A call of a function or of a custom tool."""

    name: str
    call_id: str | None = None
    arguments: str | None = None
    input: str | None = None
    namespace: str | None = None


class NativeCall(msgspec.Struct):
    """A call of a tool that the protocol itself defines."""

    call_id: str = ""
    action: Raw = NULL
    operation: Raw = NULL


class Result(msgspec.Struct):
    call_id: str = ""
    id: str | None = None
    output: str | list[Part] | None = None
    status: str | None = None
    name: str | None = None


class Reasoning(msgspec.Struct):
    id: str | None = None
    summary: list[Part] | None = None
    content: list[Part] | None = None
    encrypted_content: str | None = None


class Drawing(msgspec.Struct):
    """An `image_generation_call`."""

    result: str | None = None
    output_format: str | None = None


ITEMS: Final = msgspec.json.Decoder(list[Raw])
HEADS: Final = msgspec.json.Decoder(list[Head])
HEAD: Final = msgspec.json.Decoder(Head)
MESSAGE: Final = msgspec.json.Decoder(Message)
CALL: Final = msgspec.json.Decoder(Call)
NATIVE_CALL: Final = msgspec.json.Decoder(NativeCall)
RESULT: Final = msgspec.json.Decoder(Result)
REASONING: Final = msgspec.json.Decoder(Reasoning)
DRAWING: Final = msgspec.json.Decoder(Drawing)


def read_part(part: Part) -> Text | Image | Document | Refusal | None:
    """One content part; None for a kind that the hub has no word for."""
    kind = part.type
    mark = cache_mark(part)
    if kind in ("input_text", "output_text", "text"):
        return Text(part.text or "", cache=mark, citations=part.annotations or None)
    if kind == "refusal":
        return Refusal(part.refusal or "")
    if kind == "input_image" and part.image_url is not None:
        return _image(part.image_url, part.detail or "", mark)
    if kind == "input_file":
        return _document(part, mark)
    return None


def cache_mark(part: Part) -> CacheMark | None:
    if part.prompt_cache_breakpoint is None:
        return None
    return CacheMark(HOUR if part.prompt_cache_breakpoint.ttl == LONG_TTL else "")


def _image(url: str, detail: str, mark: CacheMark | None) -> Image:
    inline = split_data_url(url)
    if inline is None:
        return Image(url=url, detail=detail, cache=mark)
    return Image(inline[0], inline[1], detail=detail, cache=mark)


def _document(part: Part, mark: CacheMark | None) -> Document | None:
    name = part.filename or ""
    if part.file_data is not None:
        media_type, data = split_data_url(part.file_data) or ("", part.file_data)
        return Document(media_type, data, name=name, cache=mark)
    if part.file_url is not None:
        return Document(url=part.file_url, name=name, cache=mark)
    return None


def read_reasoning(item: Reasoning) -> Thinking | None:
    """A reasoning item as one thought; None where it holds nothing that could be shown or sent back.

    The text that a foreign signature covers is the reasoning itself, wherever it stood on its way through here.
    """
    item_id = provider_id(item.id)
    seal = None
    if item.encrypted_content:
        seal = unwrap(item.encrypted_content) or Seal(OPENAI, ENCRYPTED, item.encrypted_content, item_id)
    raw = "".join(part.text or "" for part in item.content or ())
    text = raw or SUMMARY_GAP.join(part.text or "" for part in item.summary or ())
    if not text and seal is None:
        return None
    is_foreign = seal is not None and seal.family != OPENAI
    is_signed = seal is not None and seal.kind == SIGNATURE
    return Thinking(text, seal, is_summary=bool(text) and not raw and not is_signed, id="" if is_foreign else item_id)


def provider_id(item_id: str | None) -> str:
    """The id of a reasoning item, where a provider gave it."""
    return item_id if item_id is not None and not item_id.startswith(OUR_THOUGHT) else ""


def read_drawing(item: Drawing) -> Image | None:
    return Image(f"image/{item.output_format or 'png'}", item.result) if item.result else None
