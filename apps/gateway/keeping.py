"""Replies as the caller gets them, with a mark where the bill will be: made before it is known, so that nothing is
billed that cannot be told. Accounts that want it have them kept for repeats, in the transaction that charges them."""

from __future__ import annotations

import uuid
from typing import Final

from apps.core.errors import GatewayError
from apps.dialects.protocol import StreamRelay, StreamState
from apps.gateway.call import Call
from apps.gateway.permit import Permit

MAX_KEPT_BYTES: Final = 4_194_304
"""A longer reply is not kept; its repeats get the bill alone."""


def keeps_reply(call: Call, permitted: Permit) -> bool:
    """Whether what this call is answered is kept: it may be repeated, and its account wants that."""
    return call.idempotency is not None and permitted.account.keeps_replies


def mark_of(request_id: uuid.UUID) -> bytes:
    """A JSON string that no upstream can have written: it never sees our request id."""
    return b'"@hypereal %s@"' % request_id.hex.encode()


def kept(reply: bytes) -> bytes | None:
    """The reply, where it is not too long."""
    return reply if len(reply) <= MAX_KEPT_BYTES else None


class KeptStream:
    """A stream's machine that remembers what it gave the caller."""

    def __init__(self, machine: StreamRelay) -> None:
        self.state: StreamState = machine.state
        self._machine = machine
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        return self._remember(self._machine.feed(data))

    def end(self) -> bytes:
        return self._remember(self._machine.end())

    def finish(self, hypereal: bytes) -> bytes:
        return self._remember(self._machine.finish(hypereal))

    def whole(self) -> bytes | None:
        """All of it, once it is finished; None where it is too long."""
        return b"".join(self._parts) if self._size <= MAX_KEPT_BYTES else None

    def fail(self, error: GatewayError, *, request_id: str) -> bytes:
        return self._machine.fail(error, request_id=request_id)

    def ping(self) -> bytes:
        return self._machine.ping()

    def _remember(self, data: bytes) -> bytes:
        self._size += len(data)
        if self._size <= MAX_KEPT_BYTES:
            self._parts.append(data)
        else:
            self._parts.clear()
        return data
