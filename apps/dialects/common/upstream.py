"""Write the body that goes upstream: the caller's own bytes but for the fields that are set here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from msgspec import Raw

from apps.dialects.common.json_body import read_count
from apps.dialects.protocol import Request

MAX_UPSTREAM_KEY_CHARS: Final = 64
"""Providers refuse longer cache keys."""

BodyFields = dict[str, object]


def start_body(request: Request, *, upstream_model: str) -> BodyFields:
    """A copy of the top level, in the caller's order, naming the upstream's model."""
    fields: BodyFields = dict(request.fields)
    fields["model"] = upstream_model
    return fields


def lowered(fields: Mapping[str, Raw], name: str, max_tokens: int) -> int:
    """The caller's own maximum where it gave a smaller one, else `max_tokens`."""
    own = read_count(fields, name)
    return max_tokens if own is None else min(own, max_tokens)


def namespaced(cache_key: str, account_tag: str) -> str:
    """A cache key that no other account can name; a key too long for providers becomes its digest."""
    key = f"{account_tag}:{cache_key}"
    if len(key) <= MAX_UPSTREAM_KEY_CHARS:
        return key
    return f"{account_tag}:{hashlib.sha256(cache_key.encode()).hexdigest()[:40]}"
