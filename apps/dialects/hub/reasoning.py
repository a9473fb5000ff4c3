"""Signed and encrypted reasoning on its way through a dialect that has no field for it.

A provider accepts only what it sealed itself. So a seal keeps whose it is, and in a foreign dialect it stands in that
dialect's opaque field behind a short prefix: a client sends it back as it came, and the provider gets its own bytes.

A seal of a tool call, a text or an image (Gemini signs those) stands in a `Thinking` part of its own, without text and
with `item_id` saying what it belongs to: so every dialect that can carry reasoning carries them.

Shape:  Seal("anthropic", "signature", "EqQB…")  ->  "hypereal.anthropic.signature.EqQB…"  -> the same seal
        Seal("gemini", "encrypted", "CiQB…", "call_7")  ->  "hypereal.gemini.encrypted~call_7.CiQB…"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

ANTHROPIC: Final = "anthropic"
OPENAI: Final = "openai"
GEMINI: Final = "gemini"
CHAT: Final = "chat"
"""A provider behind the chat protocol; the payload is its `reasoning_details` entry."""

SIGNATURE: Final = "signature"
"""Signs the text beside it (Anthropic's `thinking`)."""
ENCRYPTED: Final = "encrypted"
"""Is the reasoning itself (`redacted_thinking.data`, `encrypted_content`, `thoughtSignature`)."""

_PREFIX: Final = "hypereal."
MARK: Final = _PREFIX.encode()
"""Stands in every wrapped seal."""


@dataclass(frozen=True, slots=True)
class Seal:
    """Opaque bytes of one provider family. `payload` is never read, changed or made here."""

    family: str
    kind: str
    payload: str
    item_id: str = ""
    """What the provider ties it to: an item's or a tool call's id."""


def wrap(seal: Seal) -> str:
    """The seal as one string, for another dialect's opaque field. The payload stands last, verbatim."""
    kind = f"{seal.kind}~{quote(seal.item_id, safe='').replace('.', '%2E')}" if seal.item_id else seal.kind
    return f"{_PREFIX}{seal.family}.{kind}.{seal.payload}"


def unwrap(text: str) -> Seal | None:
    """The seal out of such a string; None for anything else: it is the dialect's own."""
    if not text.startswith(_PREFIX):
        return None
    parts = text.removeprefix(_PREFIX).split(".", 2)
    if len(parts) != 3:
        return None
    family, kind, payload = parts
    kind, _, item_id = kind.partition("~")
    return Seal(family, kind, payload, unquote(item_id))
