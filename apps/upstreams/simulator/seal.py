"""Signatures of thoughts, and thoughts only the simulator can read again.

What carries our mark must come back as it left; what does not (another provider's) is let through.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

_MARK: Final = b"hypereal-simulator:"
_KEY: Final = b"the simulator keeps no secrets"
_DIGEST_BYTES: Final = 16


def seal(thought: str) -> str:
    """Base64 text that carries the thought and proves that it was not changed."""
    body = _MARK + thought.encode()
    return base64.b64encode(body + _proof(body)).decode()


def is_broken(sealed: str, thought: str = "") -> bool:
    """True for a seal of ours that was altered, or that belongs to another thought (where one is shown)."""
    try:
        data = base64.b64decode(sealed, validate=True)
    except (binascii.Error, ValueError):
        return sealed.startswith(base64.b64encode(_MARK[:18]).decode())
    if not data.startswith(_MARK):
        return False
    body, proof = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if proof != _proof(body):
        return True
    return bool(thought) and body[len(_MARK) :] != thought.encode()


def _proof(body: bytes) -> bytes:
    return hashlib.blake2b(body, key=_KEY, digest_size=_DIGEST_BYTES).digest()
