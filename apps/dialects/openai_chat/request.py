"""Read a Chat Completions request, and write the body that goes upstream."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec
from msgspec import Raw

from apps.dialects.common.items import Tally, pick, read_parts
from apps.dialects.common.json_body import (
    NULL,
    Fields,
    first_byte,
    given,
    is_null,
    nested,
    open_body,
    read,
    read_cache_key,
    read_count,
    read_flag,
    read_list,
    read_model,
    read_object,
    read_text,
)
from apps.dialects.common.known import unknown_tools
from apps.dialects.common.refused import (
    EVERYWHERE,
    Refusal,
    Table,
    Why,
    but_for,
    check_fields,
    read_tools,
    refuse,
    refuse_modifier,
    refuse_tool,
)
from apps.dialects.common.upstream import lowered, namespaced, start_body
from apps.dialects.openai_responses import request as responses
from apps.dialects.protocol import OPENAI_RESPONSES, InvalidRequest, Request, UnknownState

MAX_CHOICES: Final = 128
MAXIMA: Final = ("max_tokens", "max_completion_tokens")
IMAGE_SIZES: Final = ("1K", "2K", "4K")

REFUSED: Final[Table] = {
    **EVERYWHERE,
    **but_for("n", *MAXIMA),
    "service_tier": Refusal(Why.PRICE, allowed=("auto", "default", "standard", "on_demand"), is_priceable=True),
    "speed": Refusal(Why.PRICE, allowed=("standard",), is_priceable=True),
    "inference_geo": Refusal(Why.PRICE, allowed=("global",), is_priceable=True),
    "web_search_options": Refusal(Why.PRICE),
    "enable_search": Refusal(Why.PRICE),
    "search_options": Refusal(Why.PRICE),
    "search_settings": Refusal(Why.PRICE),
    "enable_code_interpreter": Refusal(Why.PRICE),
    "vl_high_resolution_images": Refusal(Why.PRICE),
    "store": Refusal(Why.REACH),
    "previous_response_id": Refusal(Why.STATE),
    "prompt": Refusal(Why.STATE),
}

# Types beside these are the caller's own (`function`, `custom`) or nothing that anybody is billed for yet.
HOSTED_TOOLS: Final = (
    "web_search",
    "openrouter:",
    "x_search",
    "live_search",
    "browser_search",
    "google_search",
    "url_context",
    "retrieval",
    "file_search",
    "code_interpreter",
    "code_execution",
    "computer",
    "image_generation",
    "builtin_function",
    "mcp",
)

UNPRICED_PARTS: Final = frozenset(
    {"audio", "audio_url", "video", "video_url", "input_video", "document", "document_url",
     "input_file", "file_url", "image", "input_image"}
)  # fmt: skip


_RESPONSES_HERE: Final[Table] = {name: row for name, row in responses.REFUSED.items() if name not in MAXIMA}
"""A Responses request in chat's place may name its maximum as chat does: it never travels on as it is."""


class _Message(msgspec.Struct):
    content: Raw = NULL
    images: Raw = NULL
    """Images that a model drew earlier, sent back as part of the conversation."""
    audio: Raw = NULL


class _ImageURL(msgspec.Struct):
    url: Raw


class _File(msgspec.Struct):
    file_data: Raw = NULL
    file_id: Raw = NULL


class _ImagePart(msgspec.Struct):
    image_url: Raw


class _FilePart(msgspec.Struct):
    file: _File


_MESSAGES: Final = msgspec.json.Decoder(list[_Message])
_MODALITIES: Final = msgspec.json.Decoder(list[str])
_IMAGE: Final = msgspec.json.Decoder(_ImagePart)
_IMAGE_URL: Final = msgspec.json.Decoder(_ImageURL)
_FILE: Final = msgspec.json.Decoder(_FilePart)


def parse(body: bytes) -> Request:
    fields = open_body(body)
    if given(fields, "messages") is None and given(fields, "input") is not None:
        return _parse_responses(body, fields)
    modifiers = check_fields(fields, REFUSED)
    model_id = read_model(fields)
    tally = Tally()
    _check_messages(fields, tally)
    unknown = _check_tools(fields)
    is_stream = read_flag(fields, "stream")
    stream_options = read_object(fields, "stream_options")
    makes_images = _makes_images(fields)
    return Request(
        model_id=model_id,
        fields=fields,
        modifiers=modifiers,
        unknown_tools=unknown,
        demand=tally.demand(len(body)),
        is_stream=is_stream,
        max_tokens=min(_maxima(fields), default=None),
        thinking_budget=_thinking_budget(fields),
        n=read_count(fields, "n", most=MAX_CHOICES) or 1,
        wants_usage=read_flag(stream_options, "include_usage") if is_stream else True,
        image_size=_image_size(fields),
        makes_images=makes_images,
        cache_key=read_cache_key(fields),
    )


def _parse_responses(body: bytes, fields: Fields) -> Request:
    """A Responses request that wants to be answered in chat: some editors post one here (Cursor does, for models whose
    names look like OpenAI's), with `stream_options` and maxima as chat has them."""
    request = responses.parse(body, table=_RESPONSES_HERE)
    if request.modifiers:
        raise refuse_modifier(request.modifiers[0])  # it would be lost on the way
    stream_options = read_object(fields, "stream_options")
    return replace(
        request,
        max_tokens=min((*_maxima(fields), *([request.max_tokens] if request.max_tokens else [])), default=None),
        wants_usage=read_flag(stream_options, "include_usage") if request.is_stream else True,
        written_in=OPENAI_RESPONSES,
    )


def _maxima(fields: Fields) -> list[int]:
    return [value for name in MAXIMA if (value := read_count(fields, name)) is not None]


def upstream_body(request: Request, *, upstream_model: str, max_tokens: int | None, account_tag: str) -> bytes:
    """See `Dialect.upstream_body`. Both names of the maximum are lowered: an upstream may go by either, so where both
    are given the smaller one is sent twice. Where neither is, the model has its name for it.
    """
    fields = start_body(request, upstream_model=upstream_model)
    names = [name for name in MAXIMA if given(request.fields, name)]
    if len(names) > 1 and request.max_tokens is not None:
        max_tokens = min(max_tokens or request.max_tokens, request.max_tokens)
    if max_tokens is not None:
        for name in names or [request.maximum_name]:
            fields[name] = lowered(request.fields, name, max_tokens)
    if request.is_stream:
        options: dict[str, object] = dict(read_object(request.fields, "stream_options"))
        fields["stream_options"] = {**options, "include_usage": True}
    if request.cache_key is not None:
        fields["prompt_cache_key"] = namespaced(request.cache_key, account_tag)
    return msgspec.json.encode(fields)


def _check_messages(fields: Fields, tally: Tally) -> None:
    raw = given(fields, "messages")
    if raw is None or first_byte(raw) != b"[":
        raise InvalidRequest("`messages` must be a list of messages.", param="messages")
    messages = read_list(_MESSAGES, raw, "messages")
    if not messages:
        raise InvalidRequest("`messages` must not be empty.", param="messages")
    for index, message in enumerate(messages):
        if first_byte(message.content) == b"[":
            _check_parts(message.content, f"messages[{index}].content", tally)
        if first_byte(message.images) == b"[":
            _check_parts(message.images, f"messages[{index}].images", tally)
        if not is_null(message.audio):
            raise refuse(f"messages[{index}].audio", Why.STATE)


def _check_parts(raw: Raw, field: str, tally: Tally) -> None:
    parts = read_parts(raw, field)
    items = []
    for index, part in enumerate(parts):
        if part.type in UNPRICED_PARTS:
            raise refuse(f"{field}[{index}].type", Why.UNPRICED_KIND)
        if part.type in ("image_url", "file", "input_audio"):
            items.append(index)
    if not items:
        return
    for index, item in pick(raw, items, field):
        where = f"{field}[{index}]"
        if parts[index].type == "file":
            _check_file(item, f"{where}.file", tally)
            continue
        if parts[index].type == "input_audio":
            tally.add_audio(item, where)
            continue
        image = read(_IMAGE, item, where, "an image part with `image_url`").image_url
        if first_byte(image) == b"{":
            image = read(_IMAGE_URL, image, f"{where}.image_url", "an object with `url`").url
        tally.add_image_url(image, f"{where}.image_url.url")


def _check_file(item: Raw, field: str, tally: Tally) -> None:
    file = read(_FILE, item, field, "an object with `file_data`").file
    if not is_null(file.file_id):
        raise UnknownState(f"{field}.file_id")
    tally.add_data_url(file.file_data, f"{field}.file_data")


def _check_tools(fields: Fields) -> tuple[str, ...]:
    """Refuse hosted tools; return the kinds of those that nobody knew yet."""
    raw = given(fields, "tools")
    if raw is None:
        return ()
    tools = read_tools(raw, "tools")
    for index, tool in enumerate(tools):
        if tool.type is not None and tool.type.startswith(HOSTED_TOOLS):
            raise refuse_tool("tools", index)
    return unknown_tools(tool.type for tool in tools)


def _thinking_budget(fields: Fields) -> int | None:
    """Each provider has its own name for it; the largest one given counts."""
    budgets = (
        read_count(nested(fields, "reasoning"), "max_tokens", least=0, label="reasoning.max_tokens"),
        read_count(nested(fields, "thinking"), "budget_tokens", least=0, label="thinking.budget_tokens"),
        read_count(fields, "thinking_budget", least=0),
    )
    return max((budget for budget in budgets if budget is not None), default=None)


def _makes_images(fields: Fields) -> bool:
    raw = given(fields, "modalities")
    if raw is None:
        return False
    modalities = read(_MODALITIES, raw, "modalities", "a list of strings")
    if not set(modalities) <= {"text", "image"}:
        raise refuse("modalities", Why.UNPRICED_KIND)
    return "image" in modalities


def _image_size(fields: Fields) -> str | None:
    size = read_text(read_object(fields, "image_config"), "image_size")
    if size is not None and size not in IMAGE_SIZES:
        raise refuse("image_config.image_size", Why.PRICE)
    return size
