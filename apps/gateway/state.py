"""Calls that build on what a provider keeps: whose it is, and on which route. Only they pay for the look-up."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from apps.core import clock
from apps.core.errors import GatewayError
from apps.dialects.protocol import Dialect, Request, State, UnknownState, UnsupportedField
from apps.gateway.patience import Patience
from apps.gateway.stores import Stores
from apps.upstreams import states
from apps.upstreams.rules import RouteSnapshot
from apps.upstreams.states import Kept

logger = logging.getLogger(__name__)

T = TypeVar("T")
LOOK_UP_S: Final = 5.0


async def find_states(request: Request, account_id: uuid.UUID, stores: Stores) -> Mapping[State, Kept]:
    """What the request builds on; empty where it stands for itself.

    Raises: UnknownState, for what this account did not make; GatewayError, where the store is away.
    """
    if not request.states:
        return {}
    now = clock.now()
    try:
        found = await _in_thread(lambda: states.find(account_id, request.states, now=now), stores)
    except Exception:
        logger.exception("a stored reply could not be looked up")
        message = "Stored replies cannot be looked up right now. Try again shortly."
        raise GatewayError("store_unavailable", message) from None
    for state in request.states:
        if state not in found:
            raise UnknownState(state.field)
    return found


def stateful(
    routes: Sequence[RouteSnapshot], request: Request, found: Mapping[State, Kept], *, dialect: Dialect
) -> list[RouteSnapshot]:
    """The routes that such a request can take: of the caller's own dialect, where replies are stored, and that one
    route where what it builds on is kept.

    Raises: UnknownState, UnsupportedField.
    """
    is_whole = request.written_in is None
    able = [route for route in routes if is_whole and route.keeps_state and dialect.name in route.dialects]
    for state, kept in found.items():
        able = [route for route in able if route.key == kept.route_key]
        if not able:
            raise UnknownState(state.field)
    if not able:
        raise UnsupportedField("`store` is not supported for this model: its replies are not stored.", param="store")
    return able


def stored_tokens(found: Mapping[State, Kept]) -> int:
    """What the request may read of it again: a reply with all that led to it, an item at most as much."""
    return max((kept.tokens for kept in found.values()), default=0)


async def keep_states(
    account_id: uuid.UUID, made: Sequence[State], *, route: RouteSnapshot, tokens: int, stores: Stores
) -> None:
    """Write down what the provider keeps of a reply, before its caller can name it. A store that fails costs the
    caller no reply: what it asks for later is not found."""
    now = clock.now()
    try:
        await _in_thread(lambda: states.keep(account_id, made, route_key=route.key, tokens=tokens, now=now), stores)
    except Exception:
        logger.exception("a stored reply could not be written down")


async def _in_thread(work: Callable[[], T], stores: Stores) -> T:
    with Patience(LOOK_UP_S):
        return await stores.in_thread(work)
