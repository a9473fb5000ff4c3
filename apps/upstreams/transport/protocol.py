"""The seam between the gateway and whatever answers: a provider over HTTP, or the simulator in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class UpstreamCall:
    """One POST to an upstream. `url` is whole; `headers` are all that is sent beside Host and Content-Length."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    connect_timeout_s: float
    first_byte_timeout_s: float


class UpstreamReply(Protocol):
    """Status and headers have come; the body has not. Whoever gets one must `close` it."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises: UpstreamTooLarge past `limit` bytes, UpstreamBroken where it ends early."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises: UpstreamBroken where it ends early."""

    def close(self) -> None:
        """Free the connection: kept for reuse where the body was read to its end, else dropped. May be called twice."""


class Transport(Protocol):
    async def open(self) -> None: ...

    async def send(self, call: UpstreamCall) -> UpstreamReply:
        """Raises: UpstreamUnreachable (nothing was sent), UpstreamTimeout, UpstreamBroken."""

    async def close(self) -> None: ...


class TransportError(Exception):
    """The upstream did not answer as it should. The message is ours and names no host."""


class UpstreamUnreachable(TransportError):
    """No connection: refused, no such name, TLS failed, connect deadline."""


class UpstreamUnresponsive(UpstreamUnreachable):
    """The connect deadline passed: whoever asks again waits as long again."""


class UpstreamTimeout(TransportError):
    """A deadline passed while the upstream was silent."""


class UpstreamBroken(TransportError):
    """The connection ended early, or what came was no HTTP."""


class UpstreamGone(UpstreamBroken):
    """The connection ended, before a reply or within it: it had been kept too long, or the upstream restarts."""


class UpstreamTooLarge(TransportError):
    """The reply is larger than we take."""
