"""Which upstream a call goes to. Pure."""

from __future__ import annotations

import re
import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import Final

from apps.core.errors import GatewayError

SIMULATOR: Final = "simulator"
FORWARDED_HEADERS: Final = (b"anthropic-version", b"anthropic-beta")
"""All that goes upstream of a caller's own headers."""
DEFAULT_ANTHROPIC_VERSION: Final = "2023-06-01"
USER_AGENT: Final = "hypereal/0.1"


_CONTEXT_BETA: Final = re.compile(r"context-(\d{1,4})([km])-.*", re.IGNORECASE)
_SIZES: Final = {"k": 1_000, "m": 1_000_000}


def betas_within(betas: str, *, context_tokens: int) -> str:
    """An `anthropic-beta` header without what asks for more context than the catalog gives the model: holds and bills
    go by the catalog's, and coding agents ask for a million whatever the model.

    Example: "context-1m-2025-08-07,effort-2025-11-24" for a model of 200,000 -> "effort-2025-11-24"
    """
    if "context-" not in betas:
        return betas
    return ",".join(name for name in betas.split(",") if _context_of(name.strip()) <= context_tokens)


def _context_of(beta: str) -> int:
    """The tokens that a beta asks for; 0 where it is about something else."""
    match = _CONTEXT_BETA.fullmatch(beta)
    return 0 if match is None else int(match[1]) * _SIZES[match[2].lower()]


class UpstreamFailed(GatewayError):
    """The upstream failed, was busy, or refused the request. The message names no provider."""


@dataclass(frozen=True, slots=True)
class RouteSnapshot:
    """One enabled upstream of a model, with its credential in the headers it is sent in."""

    route_id: uuid.UUID | None
    """None: the simulator."""
    key: str
    """The route's name in the circuit breaker."""
    provider: str
    dialects: tuple[str, ...]
    base_urls: Mapping[str, str]
    """By dialect: what its paths are appended to."""
    upstream_model: str
    credential: str
    weight: int
    priority: int
    exposes_model: bool
    keeps_state: bool
    """Replies may be stored there, and built on."""
    connect_timeout_s: float
    first_byte_timeout_s: float
    idle_timeout_s: float
    total_timeout_s: float


def order(
    routes: Sequence[RouteSnapshot], *, dialect: str, reachable: frozenset[str], session_id: str, spread: int
) -> list[RouteSnapshot]:
    """The routes that speak something `reachable`, in the order to try them: by priority; of one priority, those that
    speak the caller's own `dialect` first, which loses nothing on the way; then by weight.

    A session always meets the same order (rendezvous by its id), so its prompt cache stays warm; without one, `spread`
    (any number, a fresh one per call) shares calls out by weight.
    """
    able = [route for route in routes if not reachable.isdisjoint(route.dialects)]
    if len(able) < 2:
        return able
    seed = session_id or str(spread)
    return sorted(able, key=lambda route: (route.priority, dialect not in route.dialects, _draw(seed, route)))


def _draw(seed: str, route: RouteSnapshot) -> float:
    """Smaller comes first, and comes first in proportion to weight (exponential draws from a hash)."""
    number = zlib.crc32(f"{seed} {route.key}".encode())
    return -log2((number + 1) / 2**32) / route.weight


def auth_headers(dialect: str, credential: str) -> dict[str, str]:
    """How a provider of this dialect wants its credential."""
    if not credential:
        return {}
    if dialect == "anthropic-messages":
        return {"x-api-key": credential}
    if dialect == "gemini":
        return {"x-goog-api-key": credential}
    return {"authorization": f"Bearer {credential}"}
