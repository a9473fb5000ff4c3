"""A caller that asks for prompt caching without saying where (SPEC 2.13): `X-Hypereal-Cache: true`, or a
`cache_control` on the whole request."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from apps.dialects.common.json_body import given
from apps.dialects.protocol import Request

FIELD: Final = "cache_control"
_MARK: Final = b'"cache_control"'
_BULK: Final = ("messages", "system", "tools")


def with_caching(request: Request, *, is_asked: bool, session_id: str, writes_cache: bool) -> Request:
    """The request as its upstreams are to see it. `writes_cache`: the model has a price for cache writes, so its
    provider wants to be told where; others cache by themselves, know no marks, and find a session's prompts by a key.
    """
    if not is_asked and given(request.fields, FIELD) is None:
        return request
    if writes_cache:
        return replace(request, asks_cache=True)
    fields = {name: raw for name, raw in request.fields.items() if name != FIELD}
    return replace(request, fields=fields, cache_key=request.cache_key or session_id or None)


def needs_mark(request: Request) -> bool:
    """Whether a cache breakpoint is asked for and none is set. Text that speaks of one counts as one: a prompt is
    then cached as well as if nobody had asked."""
    if not request.asks_cache or given(request.fields, FIELD) is not None:
        return False
    raws = (given(request.fields, name) for name in _BULK)
    return not any(raw is not None and _MARK in bytes(raw) for raw in raws)
