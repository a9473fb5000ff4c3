"""Count tokens as models do. The vocabularies are compiled into a package: nothing is fetched, now or later.

A count of 100 KB takes 5 to 90 ms (the first is the slowest) and a vocabulary 15 to 60 ms to load, both without the
interpreter's lock: whoever serves others meanwhile counts in a thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from splintr import AnyTokenizer

DEFAULT: Final = "o200k_base"
NAMES: Final = (DEFAULT, "cl100k_base", "deepseek_v3", "kimi_k2", "qwen3", "glm4", "mistral_v3")
"""What the catalog may name: OpenAI's newer and older vocabulary, and those of open models."""


def count(texts: Iterable[str], tokenizer: str = DEFAULT) -> int:
    """Tokens of these texts, each counted by itself. What looks like a control token is text: no model reads more."""
    encode = _load(tokenizer).encode_ordinary
    total = 0
    for text in texts:
        try:
            total += len(encode(text))
        except UnicodeEncodeError:
            # A lone surrogate, which JSON can carry and UTF-8 cannot.
            total += len(encode(text.encode("utf-8", "replace").decode()))
    return total


@cache
def _load(name: str) -> AnyTokenizer:
    # Imported late: most processes never count, and 30 MB stay on disk.
    from splintr import Tokenizer

    return Tokenizer.from_pretrained(name)
