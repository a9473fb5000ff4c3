"""The signs of a request by which the official CLI is told from others: a few headers, and the head of its body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Raw

TEXTS_READ: Final = 4
"""Of the system prompt: what says who speaks stands in the first three."""
TEXT_CHARS: Final = 300
MAX_METADATA_BYTES: Final = 4_096

OLD_USER_ID: Final = re.compile(r"user_([0-9a-f]{64})_account_([0-9a-f-]*)_session_([0-9a-f-]{36})")
"""As older versions wrote it; newer ones write JSON."""
DEVICE: Final = re.compile(r"[0-9a-f]{64}")
UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNREADABLE: Final = (ValueError, RecursionError)


@dataclass(frozen=True, slots=True)
class UserId:
    """What `metadata.user_id` names. Ids are well-formed, in lower case, or empty."""

    device: str = ""
    session: str = ""
    is_old: bool = False
    """Written in the older format, by versions that may not know the session's header yet."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What a request shows of who sends it. An absent header is an empty text."""

    is_messages: bool
    """It came to an Anthropic-native path."""
    user_agent: str = ""
    app: str = ""
    api_version: str = ""
    sdk_language: str = ""
    session: str = ""
    user_id: UserId | None = None
    """None where the body names none."""
    system: tuple[str, ...] = ()
    """The beginnings of the first texts of the system prompt; empty where that is no list of texts."""
    is_stream: bool = False
    max_tokens: int | None = None
    offers_tools: bool = False
    asks_beta: bool = False
    """The path has `?beta=true`: told to operators, never a reason."""


class _Text(msgspec.Struct):
    text: str = ""


class _Metadata(msgspec.Struct):
    user_id: str = ""


class _UserId(msgspec.Struct):
    device_id: str = ""
    session_id: str = ""


_ITEMS: Final = msgspec.json.Decoder(list[Raw])
_TEXT: Final = msgspec.json.Decoder(_Text)
_METADATA: Final = msgspec.json.Decoder(_Metadata)
_USER_ID: Final = msgspec.json.Decoder(_UserId)


def read_signs(
    headers: Mapping[bytes, bytes],
    *,
    is_messages: bool,
    query: bytes = b"",
    fields: Mapping[str, Raw],
    is_stream: bool = False,
    max_tokens: int | None = None,
) -> Signs:
    """Read them from a head and the raw fields of a body: nothing of its messages is looked at."""

    def text(name: bytes) -> str:
        value = headers.get(name)
        return "" if value is None else value.decode("latin-1").strip()

    return Signs(
        is_messages=is_messages,
        user_agent=text(b"user-agent"),
        app=text(b"x-app"),
        api_version=text(b"anthropic-version"),
        sdk_language=text(b"x-stainless-lang").lower(),
        session=text(b"x-claude-code-session-id").lower(),
        user_id=_read_user_id(fields.get("metadata")),
        system=_read_system(fields.get("system")),
        is_stream=is_stream,
        max_tokens=max_tokens,
        offers_tools=_offers(fields.get("tools")),
        asks_beta=b"beta=true" in query,
    )


def _offers(tools: Raw | None) -> bool:
    return tools is not None and bytes(memoryview(tools)[:16]).translate(None, b" \t\r\n") not in (b"[]", b"null")


def _read_system(raw: Raw | None) -> tuple[str, ...]:
    if raw is None:
        return ()
    try:
        return tuple(_TEXT.decode(item).text[:TEXT_CHARS] for item in _ITEMS.decode(raw)[:TEXTS_READ])
    except _UNREADABLE:
        return ()


def _read_user_id(raw: Raw | None) -> UserId | None:
    if raw is None or len(memoryview(raw)) > MAX_METADATA_BYTES:
        return None
    try:
        written = _METADATA.decode(raw).user_id
    except _UNREADABLE:
        return None
    return parse_user_id(written) if written else None


def parse_user_id(written: str) -> UserId:
    """Read either of the two known formats.

    Shape: {"device_id": "<64 hex>", "account_uuid": "", "session_id": "<uuid>"}, as a string;
    or user_<64 hex>_account_<uuid or nothing>_session_<uuid>
    """
    old = OLD_USER_ID.fullmatch(written.lower())
    if old is not None:
        return UserId(old[1], _matching(UUID, old[3]), is_old=True)
    try:
        found = _USER_ID.decode(written)
    except _UNREADABLE:
        return UserId()
    return UserId(_matching(DEVICE, found.device_id.lower()), _matching(UUID, found.session_id.lower()))


def _matching(shape: re.Pattern[str], text: str) -> str:
    return text if shape.fullmatch(text) else ""
