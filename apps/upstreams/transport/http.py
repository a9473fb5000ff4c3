"""The transport to real providers: HTTP/1.1 over pooled connections of one aiohttp session.

Nothing is followed, decoded or remembered: no redirects, no decompression, no cookies, no proxy from the environment.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from typing import Final

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from apps.upstreams.transport.protocol import (
    TransportError,
    UpstreamBroken,
    UpstreamCall,
    UpstreamGone,
    UpstreamReply,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
    UpstreamUnresponsive,
)

KEEPALIVE_S: Final = 15.0
"""How long an idle connection is kept: shorter than providers keep theirs, so that none dies as it is taken again."""

CHUNK_BYTES: Final = 65_536
"""At most so much at once. Whoever reads a stream for a caller that does not take it keeps what it was given, twice."""
DNS_LIFE_S: Final = 60
MAX_STATUS_LINE_BYTES: Final = 8_190
MAX_HEADER_BYTES: Final = 16_384
MAX_HEADERS: Final = 256

_LEFT_OUT: Final = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
"""Headers that aiohttp would add by itself."""

_FORBIDDEN: Final = re.compile(r"[\r\n\0]")

url_of: Final = lru_cache(maxsize=1_024)(lambda text: URL(text, encoded=True))
"""Routes are few and their URLs do not change: each is parsed once."""


@lru_cache(maxsize=256)
def timeout_of(connect_s: float, first_byte_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(connect=connect_s, sock_read=first_byte_s, ceil_threshold=float("inf"))


class HttpTransport:
    """Calls over HTTP and HTTPS. Open it inside the loop that will use it."""

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None) -> None:
        self._ssl_context = ssl_context
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        connector = aiohttp.TCPConnector(
            limit=0,  # the governor decides how many calls run at once
            keepalive_timeout=KEEPALIVE_S,
            ttl_dns_cache=DNS_LIFE_S,
            ssl=self._ssl_context or ssl.create_default_context(),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            max_line_size=MAX_STATUS_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            skip_auto_headers=_LEFT_OUT,
        )

    async def send(self, call: UpstreamCall) -> UpstreamReply:
        """Raises: UpstreamUnreachable, UpstreamTimeout, UpstreamBroken; ValueError for a header that would split."""
        if self._session is None:
            raise UpstreamUnreachable("the transport is closed")
        timeout = timeout_of(call.connect_timeout_s, call.first_byte_timeout_s)
        headers = _checked(call.headers)
        try:
            response = await self._session.post(
                url_of(call.url), data=call.body, headers=headers, timeout=timeout, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError, ValueError) as failure:
            # `from None`: the library's texts name hosts, and must not reach a log through the cause.
            raise _translated(failure) from None
        if response.connection is not None and response.connection.protocol is not None:
            # From here on the gateway keeps its own deadlines between chunks.
            response.connection.protocol.read_timeout = None
            response.connection.protocol.start_timeout()  # the running one is taken off
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            response.close()
            raise UpstreamBroken("the upstream's reply is encoded in a way that was not asked for")
        return HttpReply(response)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


class HttpReply:
    """One reply whose body still has to be read."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
        self._response = response

    async def read(self, limit: int) -> bytes:
        if (self._response.content_length or 0) > limit:
            raise UpstreamTooLarge("the upstream's reply is too large")
        parts: list[bytes] = []
        size = 0
        async for part in self.chunks():
            size += len(part)
            if size > limit:
                raise UpstreamTooLarge("the upstream's reply is too large")
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        content = self._response.content
        while True:
            try:
                chunk = await content.read(CHUNK_BYTES)
            except (aiohttp.ClientError, OSError) as failure:
                raise _translated(failure) from None
            if not chunk:
                return
            yield chunk

    def close(self) -> None:
        # A body read to its end has given its connection back already; what is left is dropped with the rest unread.
        self._response.close()


def _checked(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """The headers to send. Raises: ValueError for a line break in one: a header must never become two."""
    checked = CIMultiDict(headers)
    checked.setdefault("Accept-Encoding", "identity")
    for name, value in checked.items():
        if _FORBIDDEN.search(name) or _FORBIDDEN.search(value):
            raise ValueError("a header with a line break cannot be sent")
    return checked


def _translated(failure: Exception) -> TransportError:
    """Our error for the library's. Order matters: its classes inherit from one another."""
    match failure:
        case aiohttp.ConnectionTimeoutError():
            return UpstreamUnresponsive("the upstream took no connection in time")
        case aiohttp.ServerTimeoutError():
            return UpstreamTimeout("the upstream sent nothing in time")
        case aiohttp.ClientConnectorError() | aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError() | ValueError():
            return UpstreamUnreachable("no connection to the upstream")
        case aiohttp.ClientPayloadError():
            return UpstreamBroken("the upstream's reply ended early")
        # Where half a head had come, the message is that half.
        case aiohttp.ServerDisconnectedError(message=str()) | aiohttp.ClientOSError() | OSError():
            return UpstreamGone("the connection to the upstream ended")
    return UpstreamBroken("the connection to the upstream broke")
