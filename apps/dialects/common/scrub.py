"""An upstream's error message, made fit for a caller: no address, key, organisation or markup (SPEC 2.6)."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

MAX_CHARS: Final = 300
_READ_CHARS: Final = 4_000
"""The expressions below see no more than this of a message, however long it is."""

_ANY: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(Any)

# A message may quote what a caller wrote, so each expression starts only where a word does: none is quadratic.
_IDENTITIES: Final = re.compile(
    r"""
      (?:https?|wss?|ftp)://\S+                                              # addresses
    | \bwww\.\S+
    | (?<![^\s"'`])[^\s"'`]*\*{3,}[^\s"'`]*                                   # keys that the provider masked
    | (?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+                              # e-mail
    | \b(?:Bearer|Basic)\s+[\w.~+/=-]+                                      # credentials and account names
    | \b(?:sk|pk|rk|ck|gsk|xai|key|org|proj|acct|user)[-_](?=[\w-]*[\d-])[\w.-]{4,}
    | \bAIza[\w-]{10,}
    | \breq[-_](?=[\w-]*\d)[\w-]{6,}                                        # their request ids
    | \b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b                                   # hosts
    | \blocalhost(?::\d+)?\b
    | (?<![\w.-])(?:[a-z0-9-]{1,63}\.){1,30}
      (?:com|net|org|io|ai|dev|app|cloud|local|internal|lan|corp|svc|cn|eu|us|uk|de|in|co|xyz)\b(?::\d+)?(?:/\S*)?
    | \b(?!(?:resp|msg|call|chatcmpl|toolu)[-_])[A-Za-z0-9_-]{32,}\b      # anything long enough to be a secret
    """,
    re.VERBOSE | re.IGNORECASE,
)
_MARKUP: Final = re.compile(
    r"<(?:!doctype|/?(?:html|head|title|meta|style|script|body|center|div|span|pre|p|a|b|h[1-6]|hr|br))\b",
    re.IGNORECASE,
)


def scrub(message: str) -> str:
    """One line of at most 300 characters without the operator's identity; empty where nothing readable is left."""
    text = message[:_READ_CHARS]
    if _MARKUP.search(text):
        return ""
    text = _IDENTITIES.sub("[redacted]", text)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1].rstrip() + "…"


def message_of(error: object) -> str | None:
    """The message in any of the shapes that providers use: `{"error": {"message"}}`, `{"error": "…"}`, `{"detail"}`,
    `{"message"}`, also one element of a list of these."""
    if isinstance(error, list) and error:
        error = error[0]
    if isinstance(error, str):
        return error or None
    if not isinstance(error, dict):
        return None
    for name in ("error", "message", "detail", "msg"):
        found = message_of(error.get(name))
        if found is not None:
            return found
    return None


def read_error(status: int, body: bytes) -> str:
    """What the caller is told about an upstream's error reply."""
    try:
        message = message_of(_ANY.decode(body))
    except (ValueError, RecursionError):
        message = None
    return scrub(message or "") or f"The upstream refused the request with status {status}."


_OVERLOADS: Final = frozenset(
    {"overloaded_error", "rate_limit_error", "rate_limit_exceeded", "server_overloaded", "server_is_overloaded",
     "slow_down", "429", "503", "529"}
)  # fmt: skip


def is_overload(error: object) -> bool:
    """Whether an error inside a stream says that the upstream is busy: another try elsewhere may succeed."""
    if not isinstance(error, dict):
        return False
    return any(str(error.get(name)) in _OVERLOADS for name in ("type", "code", "status"))


def failure_message(error: object) -> str:
    """The scrubbed message of an error event inside a stream."""
    return scrub(message_of(error) or "") or "The upstream ended the stream with an error."
