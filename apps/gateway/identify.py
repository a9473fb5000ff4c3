"""Who calls: the key from the headers, before a byte of the body is read."""

from __future__ import annotations

import logging
from typing import Final

from apps.core.errors import GatewayError
from apps.gateway.call import Call
from apps.gateway.patience import Patience
from apps.gateway.stores import Stores
from apps.keys.rules import Client, KeySnapshot, digest, is_well_formed

logger = logging.getLogger(__name__)

KEY_HEADERS: Final = (b"x-api-key", b"anthropic-api-key")
"""Beside `Authorization: Bearer`, which every path takes: the Anthropic SDK's, and the document's."""
BEARER: Final = b"bearer "
LOOK_S: Final = 2.0
"""A store that is away may be silent about it: whoever brings a key that we do not know is told after this."""


class Unidentified(GatewayError):
    """No key, or not a key of ours (401). One text for all, so that nothing is learnt by trying."""

    def __init__(self, message: str) -> None:
        super().__init__("invalid_api_key", message)


async def identify(call: Call, stores: Stores) -> KeySnapshot:
    """The key that makes this call.

    Raises: Unidentified; GatewayError, where the store is away and the key is none that we know.
    """
    text = presented_key(call)
    if not is_well_formed(text):
        raise Unidentified("This is not a valid API key. Keys begin with ck_.")
    key_digest = digest(text, pepper=stores.key_pepper)
    key = stores.keys.get(key_digest)
    if key is None:
        # Issued a moment ago, perhaps: whoever made it may use it at once.
        try:
            with Patience(LOOK_S):
                await stores.look_again()
        except Exception:
            # Whatever the driver calls it: nobody can say that there is no such key.
            logger.exception("a key could not be looked up")
            message = "API keys cannot be checked right now. Try again shortly."
            raise GatewayError("store_unavailable", message) from None
        key = stores.keys.get(key_digest)
    if key is None:
        raise Unidentified("This is not a valid API key.")
    return key


def presented_key(call: Call) -> str:
    """The one key that the headers name.

    Raises: Unidentified, where there is none, or they disagree.
    """
    found: set[bytes] = set()
    authorization = call.headers.get(b"authorization")
    if authorization is not None and authorization[: len(BEARER)].lower() == BEARER:
        found.add(authorization[len(BEARER) :].strip())
    found.update(call.headers.get(name, b"").strip() for name in KEY_HEADERS)
    # Clients that take their key from one variable often send the other's header empty.
    found.discard(b"")
    if call.repeated or len(found) > 1:
        raise Unidentified("Several API keys were sent. Send one.")
    if not found:
        raise Unidentified("No API key was sent. Send it as `Authorization: Bearer ck_…`.")
    return found.pop().decode("latin-1")


def read_client(call: Call) -> Client:
    """Who calls, as far as permission depends on it. Behind trusted proxies the server took the address from them."""
    return Client(address=call.peer, user_agent=call.header(b"user-agent"))
