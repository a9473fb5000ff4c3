"""What Gemini's errors say beside their status.

Shape:  {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "…", "details": [
             {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]}}
"""

from __future__ import annotations

import re
from typing import Final

_RETRY_DELAY: Final = re.compile(rb'"retryDelay"\s*:\s*"(\d{1,6})(?:\.\d+)?s"')
_OPERATORS: Final = (b'"API_KEY_INVALID"', b"User location is not supported")
_TOO_LONG: Final = b"exceeds the maximum number of tokens"


def retry_delay_s(body: bytes) -> int | None:
    """Seconds after which to ask again: it says so in the body, not in a header."""
    found = _RETRY_DELAY.search(body)
    return None if found is None else int(found[1])


def is_operators(body: bytes) -> bool:
    """Whether a 400 is no mistake of the caller's: a wrong credential has this status here, too."""
    return any(mark in body for mark in _OPERATORS)


def is_too_long(body: bytes) -> bool:
    return _TOO_LONG in body
