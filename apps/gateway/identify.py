"""Who calls: the key from the headers, before a byte of the body is read."""

from __future__ import annotations

from typing import Final

from apps.core.errors import GatewayError
from apps.gateway.call import Call
from apps.gateway.stores import Stores
from apps.keys.rules import Client, KeySnapshot, digest, is_well_formed

KEY_HEADERS: Final = (b"x-api-key", b"anthropic-api-key")
"""Beside `Authorization: Bearer`, which every path takes: the Anthropic SDK's, and the document's."""
BEARER: Final = b"bearer "


class Unidentified(GatewayError):
    """No key, or not a key of ours (401). One text for all, so that nothing is learnt by trying."""

    def __init__(self, message: str) -> None:
        super().__init__("invalid_api_key", message)


async def identify(call: Call, stores: Stores) -> KeySnapshot:
    """The key that makes this call.

    Raises: Unidentified.
    """
    text = presented_key(call)
    if not is_well_formed(text):
        raise Unidentified("This is not a valid API key. Keys begin with ck_.")
    key_digest = digest(text, pepper=stores.key_pepper)
    key = stores.keys.get(key_digest)
    if key is None:
        # Issued a moment ago, perhaps: whoever made it may use it at once.
        await stores.look_again()
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
    for name in KEY_HEADERS:
        value = call.headers.get(name)
        if value:
            found.add(value.strip())
    if call.repeated or len(found) > 1:
        raise Unidentified("Several API keys were sent. Send one.")
    if not found:
        raise Unidentified("No API key was sent. Send it as `Authorization: Bearer ck_…`.")
    return found.pop().decode("latin-1")


def read_client(call: Call) -> Client:
    """Who calls, as far as permission depends on it. The server took the address from trusted proxies where it has any."""
    return Client(
        address=call.peer,
        user_agent=call.header(b"user-agent"),
        app=call.header(b"x-app"),
        is_anthropic_path=call.dialect is not None and call.dialect.is_anthropic,
    )
