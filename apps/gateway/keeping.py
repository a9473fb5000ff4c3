"""Replies kept for repeats, of accounts that want it: what the caller gets, with a mark where the bill will be.

So the reply is written in the transaction that charges it, when its bill is not known yet.
"""

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

    def __init__(self, machine: StreamRelay, mark: bytes) -> None:
        self.state: StreamState = machine.state
        self._machine = machine
        self._mark = mark
        self._parts: list[bytes] = []
        self._size = 0
        self._rest: bytes | None = None

    def feed(self, data: bytes) -> bytes:
        return self._remember(self._machine.feed(data))

    def end(self) -> bytes:
        return self._remember(self._machine.end())

    def close(self) -> bytes | None:
        """The whole of it, once nothing more comes; None where it is too long. What the caller is sent at its end is
        decided here, before the settlement."""
        self._rest = self._remember(self._machine.finish(self._mark))
        return b"".join(self._parts) if self._size <= MAX_KEPT_BYTES else None

    def finish(self, hypereal: bytes) -> bytes:
        return self._machine.finish(hypereal) if self._rest is None else self._rest.replace(self._mark, hypereal)

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
