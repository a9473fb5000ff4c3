"""What the oracle takes for a token: it counts as the models that it stands for are said to in the catalog."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from apps.core import tokenizer
from tests.flows.bills import MODELS
from tests.flows.endpoints import ENDPOINTS

TOKENIZERS: Final = {
    endpoint.name: MODELS[endpoint.model]["bounds"].get("tokenizer", tokenizer.DEFAULT) for endpoint in ENDPOINTS
}
BYTES_PER_TOKEN: Final = 4
"""At least, in a text that repeats one letter."""
PER_MESSAGE: Final = 3
"""What providers put around a message."""


@lru_cache(maxsize=1_024)
def count_tokens(text: str, endpoint: str) -> int:
    """As the model behind an endpoint counts."""
    return tokenizer.count([text], TOKENIZERS[endpoint])
