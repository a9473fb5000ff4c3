"""What is kept of a call that was not the CLI's: enough to judge the verdict by, no id and no word of a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from apps.keys.cli.known import BILLING
from apps.keys.cli.signs import Signs
from apps.keys.rules import keyed_digest

AGENT_CHARS: Final = 120
MAX_HEADERS: Final = 40
NAME_CHARS: Final = 50
DIGEST_CHARS: Final = 12
"""Enough to see that two calls came from one device, too few to search for it."""


def evidence_of(headers: Mapping[bytes, bytes], *, path: str, signs: Signs, pepper: str) -> dict[str, object]:
    """Shape: {"path": "/v1/messages", "user_agent": "curl/8", "headers": ["accept", …], "device": "3fa1…", …}.

    Of headers the names alone, of ids keyed digests, of the prompt nothing but whether the billing text was there.
    """
    user_id = signs.user_id

    def digest(text: str) -> str | None:
        return keyed_digest(f"cli-evidence:{text}", pepper=pepper)[:DIGEST_CHARS] if text else None

    return {
        "path": path[:NAME_CHARS],
        "user_agent": _printable(signs.user_agent[:AGENT_CHARS]),
        "x_app": _printable(signs.app[:NAME_CHARS]),
        "anthropic_version": _printable(signs.api_version[:NAME_CHARS]),
        "headers": sorted(_printable(name.decode("latin-1")[:NAME_CHARS]) for name in headers)[:MAX_HEADERS],
        "asks_beta": signs.asks_beta,
        "session": digest(signs.session),
        "body_session": digest(user_id.session) if user_id is not None else None,
        "device": digest(user_id.device) if user_id is not None else None,
        "system_texts": len(signs.system),
        "has_billing_text": any(text.startswith(BILLING) for text in signs.system),
        "offers_tools": signs.offers_tools,
        "max_tokens": signs.max_tokens,
    }


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())
