"""What a prompt may demand of the simulator: `[[simulate status=529 retry-after=2]]`.

status=529 retry-after=2     refuse the call with that status and header
cut=3                        end the connection after 3 chunks of content (a plain reply: half way)
error-after=3                an error event in the stream after 3 chunks (a plain reply: 500, or a failed response)
ttfb-ms=500 chunk-ms=20      pace this reply
chunks=200                   say something that streams as exactly so many chunks of content
output-tokens=500            say something that is exactly so many tokens
no-usage                     report no usage
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_DELAY_MS: Final = 600_000
MAX_CHUNKS: Final = 100_000
MAX_OUTPUT_TOKENS: Final = 200_000
MAX_RETRY_AFTER_S: Final = 86_400

_DIRECTIVE: Final = re.compile(r"\[\[simulate ([^\[\]]{1,400})\]\]")
_NUMBER: Final = re.compile(r"([a-z-]{1,20})=([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Directives:
    """None where the prompt does not say."""

    status: int | None = None
    retry_after_s: int | None = None
    cut_after: int | None = None
    error_after: int | None = None
    ttfb_ms: int | None = None
    chunk_ms: int | None = None
    chunks: int | None = None
    output_tokens: int | None = None
    reports_usage: bool = True


NONE: Final = Directives()


def read(text: str) -> Directives:
    """The directives in the text, later ones winning; numbers are clamped, words that mean nothing are passed over."""
    if "[[simulate " not in text:
        return NONE
    words = [word for match in _DIRECTIVE.finditer(text) for word in match[1].split()]
    numbers = {match[1]: int(match[2]) for word in words if (match := _NUMBER.fullmatch(word))}

    def number(name: str, *, least: int = 0, most: int) -> int | None:
        value = numbers.get(name)
        return None if value is None else min(max(value, least), most)

    return Directives(
        status=number("status", least=300, most=599),
        retry_after_s=number("retry-after", most=MAX_RETRY_AFTER_S),
        cut_after=number("cut", most=MAX_CHUNKS),
        error_after=number("error-after", most=MAX_CHUNKS),
        ttfb_ms=number("ttfb-ms", most=MAX_DELAY_MS),
        chunk_ms=number("chunk-ms", most=MAX_DELAY_MS),
        chunks=number("chunks", least=1, most=MAX_CHUNKS),
        output_tokens=number("output-tokens", least=1, most=MAX_OUTPUT_TOKENS),
        reports_usage="no-usage" not in words,
    )


def remove(text: str) -> str:
    """The text without its directives: what there is to answer."""
    return _DIRECTIVE.sub("", text).strip() if "[[simulate " in text else text
