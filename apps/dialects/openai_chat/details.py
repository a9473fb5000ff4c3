"""`reasoning_details`: where chat carries signed and encrypted reasoning. Opaque to clients, who send it back.

Shape:  {"type": "reasoning.text", "text": "…", "signature": "EqQB…", "format": "anthropic-claude-v1", "index": 0}
        {"type": "reasoning.encrypted", "data": "gAAA…", "id": "rs_1", "format": "openai-responses-v1", "index": 1}
        {"type": "reasoning.summary", "summary": "…", …}
What we put there ourselves, of providers of other protocols, has an `id` that says so: `hypereal.rs_1`.
Source: OpenRouter's reference of reasoning tokens, read 2026-11, which chat clients of several providers know.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from apps.dialects.hub.conversation import Thinking
from apps.dialects.hub.reasoning import ANTHROPIC, CHAT, ENCRYPTED, GEMINI, OPENAI, SIGNATURE, Seal

FORMATS: Final = {ANTHROPIC: "anthropic-claude-v1", OPENAI: "openai-responses-v1", GEMINI: "google-gemini-v1"}
_FAMILIES: Final = {name: family for family, name in FORMATS.items()}
TEXTS: Final = {"reasoning.text": "text", "reasoning.summary": "summary"}
"""Entries that can be read, and where their text stands."""
OURS: Final = "hypereal."
_SAYS_NOTHING: Final = frozenset({"type", "format", "index", "text", "summary"})


def write_details(thinking: Thinking, index: int) -> list[dict[str, Any]]:
    """The entries of one thought; none where nothing seals it: its text stands in `reasoning_content` alone."""
    seal = thinking.seal
    if seal is None:
        return []
    if seal.family == CHAT:
        entry = _own_entry(seal)
        _say(entry, thinking)
        return [{**entry, "index": index}]
    head = {"format": FORMATS.get(seal.family, seal.family), "id": OURS + (seal.item_id or thinking.id)}
    if seal.kind == SIGNATURE and not thinking.is_summary:
        return [{"type": "reasoning.text", "text": thinking.text, "signature": seal.payload, **head, "index": index}]
    entries = []
    if thinking.text:
        kind = "summary" if thinking.is_summary else "text"
        entries.append({"type": f"reasoning.{kind}", kind: thinking.text, **head, "index": index})
        index += 1
    return [*entries, {"type": "reasoning.encrypted", "data": seal.payload, **head, "index": index}]


def read_details(entries: list[dict[str, Any]], *, is_upstreams: bool = False) -> list[Thinking]:
    """Thoughts out of the entries. What an upstream of this dialect sent belongs to it, whatever its format says.

    An encrypted entry right behind the text that it belongs to (same format, same id) becomes one thought with it.
    """
    thoughts: list[Thinking] = []
    for entry in entries:
        thought = _own(entry) if is_upstreams else _read(entry)
        before = thoughts[-1] if thoughts else None
        if before is not None and _belongs(thought, before):
            before.seal = thought.seal
            before.id = thought.id
        else:
            thoughts.append(thought)
    return [thought for thought in thoughts if thought.text or thought.seal is not None]


def _read(entry: dict[str, Any]) -> Thinking:
    family = _FAMILIES.get(_string(entry, "format"))
    signature, data = entry.get("signature"), entry.get("data")
    if family is None:
        return _own(entry)
    kind, payload = (SIGNATURE, signature) if isinstance(signature, str) and signature else (ENCRYPTED, data)
    seal = None
    name = _string(entry, "id").removeprefix(OURS)
    if isinstance(payload, str) and payload:
        seal = Seal(family, kind, payload, name)
    return Thinking(_text(entry), seal, entry.get("type") == "reasoning.summary", "" if family == GEMINI else name)


def _own(entry: dict[str, Any]) -> Thinking:
    seal = None
    if any(value for name, value in entry.items() if name not in _SAYS_NOTHING):
        rest = {name: value for name, value in entry.items() if name not in ("text", "summary", "index")}
        seal = Seal(CHAT, SIGNATURE if entry.get("signature") else ENCRYPTED, msgspec.json.encode(rest).decode())
    return Thinking(_text(entry), seal, entry.get("type") == "reasoning.summary")


def _own_entry(seal: Seal) -> dict[str, Any]:
    try:
        entry = msgspec.json.decode(seal.payload)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


def _say(entry: dict[str, Any], thinking: Thinking) -> None:
    member = TEXTS.get(str(entry.get("type")))
    if member is not None and thinking.text:
        entry[member] = thinking.text


def _belongs(thought: Thinking, before: Thinking) -> bool:
    """Whether a seal that came alone is that of the text before it."""
    seal = thought.seal
    return (
        seal is not None
        and not thought.text
        and seal.family != CHAT
        and seal.kind == ENCRYPTED
        and before.seal is None
        and bool(before.text)
        and before.id == seal.item_id
    )


def _text(entry: dict[str, Any]) -> str:
    return _string(entry, "text") or _string(entry, "summary")


def _string(entry: dict[str, Any], name: str) -> str:
    value = entry.get(name)
    return value if isinstance(value, str) else ""
