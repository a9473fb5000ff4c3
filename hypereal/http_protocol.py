"""HTTP/1.1 as we let it in: uvicorn's httptools protocol, with the bounds that it lacks.

    what                                   bound                    then
    a request's head, complete             10 s, 64 KB, 200 lines   408, 431
    a body that nobody reads any more      10 s, 32 MB              the connection ends
    framing without a byte of body         64 KB                    400
    idle between requests                  75 s                     the connection ends
    idle, and the server stops             0 s; 1 s before the      the connection ends
                                           first request
    connections                            by the file limit        503

llhttp itself refuses what smuggles (two lengths, a length beside `Transfer-Encoding`, bare LF, folded lines); here
those refusals get an error body that SDKs read, and a request id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from apps.core.errors import GatewayError
from apps.core.ids import new_id, show_request_id
from apps.dialects.errors import render_error

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

HEAD_S: Final = 10.0
"""For a whole request head, from the connection or from the first byte of the next request."""
HEAD_BYTES: Final = 64 * 1024
HEAD_LINES: Final = 200
HEADER_SEPARATORS: Final = len(b": \r\n")
DRAIN_S: Final = 10.0
"""A refused caller may still be sending its body: closing at once would reset the connection and lose the refusal."""
DRAIN_BYTES: Final = 32 * 1024 * 1024
FRAMING_BYTES: Final = HEAD_BYTES + HIGH_WATER_LIMIT
"""Chunk extensions and trailers, between two bytes of body."""
LINGER_S: Final = 2.0
"""After our refusal and our end of the stream, for the caller to read it."""
LEAVE_S: Final = 1.0
"""A connection that was opened just before the server stops may have its one request on the way."""
MAX_CONNECTIONS: Final = 10_000
ANTHROPIC_TARGETS: Final = (b"/v1/messages", b"/v1/managed/messages")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is said to a connection whose request never became one. Its status may lack a code of its own (431)."""

    status: int
    code: str
    message: str

    def wire(self, *, target: bytes, default_headers: list[tuple[bytes, bytes]]) -> bytes:
        """The whole reply, in the shape of the dialect that the target names as far as it is known."""
        rendered = render_error(
            GatewayError(self.code, self.message, status=self.status),
            anthropic=target.startswith(ANTHROPIC_TARGETS),
            request_id=show_request_id(new_id()),
        )
        headers = [
            *default_headers,
            *rendered.headers,
            (b"content-length", str(len(rendered.body)).encode()),
            (b"connection", b"close"),
        ]
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        return b"%b%b\r\n%b" % (STATUS_LINE[self.status], head, rendered.body)


MALFORMED: Final = Refusal(400, "invalid_request", "This is not a well-formed HTTP/1.1 request.")
HEAD_TOO_LARGE: Final = Refusal(
    431,
    "invalid_request",
    f"The request line and headers are too large: at most {HEAD_BYTES // 1024} KB in {HEAD_LINES} lines.",
)
HEAD_TOO_SLOW: Final = Refusal(408, "request_timeout", f"The request's headers did not arrive within {HEAD_S:.0f} s.")
TOO_MANY_CONNECTIONS: Final = Refusal(503, "queue_full", "This server has as many connections as it takes. Try again.")


class HeadTooLarge(Exception):
    """Stops the parser inside its callback; the caller is told HEAD_TOO_LARGE."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. uvicorn makes one per socket; times are the loop's."""

    # CPython shares the keys of an instance's dict up to 30 names, which the base class nearly has: without slots every
    # attribute of every connection gets slower, some 6 us a request.
    __slots__ = (
        "_deadline",
        "_drained_bytes",
        "_has_begun",
        "_heads",
        "_is_leaving",
        "_is_reading_head",
        "_is_refused",
        "_refusal",
        "_unproductive_bytes",
    )

    head_s = HEAD_S
    drain_s = DRAIN_S
    linger_s = LINGER_S
    leave_s = LEAVE_S
    max_connections = MAX_CONNECTIONS

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.url = b""
        self._deadline: asyncio.TimerHandle | None = None
        self._is_leaving = False
        """The server stops: the request that comes now is the last."""
        self._is_reading_head = True
        self._has_begun = False
        """A byte of the head came."""
        self._heads = 0
        self._unproductive_bytes = 0
        """Received since the last head, byte of body or end of a message."""
        self._drained_bytes = 0
        self._refusal = MALFORMED
        self._is_refused = False

    # The socket

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._is_refused = True
            self._write(TOO_MANY_CONNECTIONS)
            transport.close()
            return
        self._arm(self.head_s, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        heads = self._heads
        self._unproductive_bytes += len(data)
        super().data_received(data)
        if self._is_refused or self.transport.is_closing():
            return
        if self._is_reading_head:
            if self._unproductive_bytes > HEAD_BYTES:
                self._refuse(HEAD_TOO_LARGE)
            elif self._deadline is None and (self._has_begun or heads == self._heads):
                # Bytes came and no head was completed: the next head is under way (or stray CRLFs play for time).
                self._arm(self.head_s, self._head_is_late)
        elif self._unproductive_bytes > FRAMING_BYTES:
            self._refuse(MALFORMED)

    def shutdown(self) -> None:
        """The server stops: what is idle is closed, but not under a first request that is on its way."""
        if self._heads or self._is_refused or self.transport.is_closing():
            super().shutdown()
            return
        self._is_leaving = True
        if not self._has_begun:
            self._arm(self.leave_s, self._head_is_late)

    def handle_websocket_upgrade(self) -> None:
        self._disarm()
        super().handle_websocket_upgrade()

    def _should_upgrade(self) -> bool:
        """The gateway refuses handshakes itself, the malformed ones too: to it they are plain requests."""
        return super()._should_upgrade() and not self.url.startswith(b"/v1/")

    def _unsupported_upgrade_warning(self) -> None:
        """Said to the caller, not to the log."""

    # The parser

    def on_message_begin(self) -> None:
        self._has_begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if len(self.headers) > HEAD_LINES or self._head_bytes() > HEAD_BYTES:
            self._refusal = HEAD_TOO_LARGE
            raise HeadTooLarge
        self._disarm()
        self._is_reading_head = False
        self._has_begun = False
        self._heads += 1
        self._unproductive_bytes = 0
        # A list of its own: the parser adds trailers to `self.headers` when the application has these already.
        self.scope["headers"] = list(self.headers)
        super().on_headers_complete()
        if self._is_leaving and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._unproductive_bytes = 0
        if self.cycle.response_complete:
            self._drained_bytes += len(body)
            if self._drained_bytes > DRAIN_BYTES:
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._disarm()
        self._is_reading_head = True
        self._unproductive_bytes = 0
        self._drained_bytes = 0
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete and self.timeout_keep_alive_task is None:
            # The reply came before the body's end, and reading the rest cancelled the timer of an idle connection.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls when the parser gives up."""
        self._refuse(self._refusal)

    # The application

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_reading_head and not self.transport.is_closing():
            self._arm(self.drain_s, self.transport.close)

    # Deadlines and refusals

    def _arm(self, delay_s: float, then: Callable[[], None]) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(delay_s, then)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + HEADER_SEPARATORS for name, value in self.headers)

    def _head_is_late(self) -> None:
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if self._has_begun or is_answering:
            self._refuse(HEAD_TOO_SLOW)
        else:
            # Nothing was asked, so nothing is answered: a reply now could be taken for the next request's.
            self.transport.close()

    def _refuse(self, refusal: Refusal) -> None:
        """Read no more requests; say why where no other reply is under way, and end the connection."""
        self._is_refused = True
        self._disarm()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:
                cycle.keep_alive = False  # a pipelined request went wrong: the replies before it are finished first
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started or self.pipeline:
                self.transport.close()
                return
        elif cycle is not None and not self._is_reading_head:
            self.transport.close()  # the body of a request that has its reply already
            return
        self._unset_keepalive_if_required()
        self._write(refusal)
        self.transport.write_eof()
        self._arm(self.linger_s, self.transport.close)

    def _write(self, refusal: Refusal) -> None:
        self.transport.write(refusal.wire(target=self.url, default_headers=self.server_state.default_headers))
