"""The fastest upstream we can make: constant replies from a raw protocol, so that the subject is what saturates."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

PLAIN = (
    b'{"id":"chatcmpl-bench","object":"chat.completion","created":1790000000,"model":"bench-upstream","choices":'
    b'[{"index":0,"message":{"role":"assistant","content":"' + b"word " * 60 + b'"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":40,"completion_tokens":60,"total_tokens":100,'
    b'"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}'
)
PLAIN_REPLY = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    b"content-length: " + str(len(PLAIN)).encode() + b"\r\n\r\n" + PLAIN
)
CHUNKS = 60


def _chunk(delta: bytes, finish: bytes = b"null") -> bytes:
    return (
        b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1790000000,"model":"bench-upstream",'
        b'"choices":[{"index":0,"delta":' + delta + b',"finish_reason":' + finish + b'}],"usage":null}\n\n'
    )


def _framed(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM_PARTS = [_framed(_chunk(b'{"content":"word "}')) for _ in range(CHUNKS)]
STREAM_END = (
    _framed(_chunk(b"{}", b'"stop"'))
    + _framed(
        b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1790000000,"model":"bench-upstream",'
        b'"choices":[],"usage":{"prompt_tokens":40,"completion_tokens":60,"total_tokens":100}}\n\n'
    )
    + _framed(b"data: [DONE]\n\n")
    + b"0\r\n\r\n"
)


class Upstream(asyncio.Protocol):
    """Answers each request as soon as its body is whole."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 : head.find(b"\r\n", at) if head.find(b"\r\n", at) > 0 else None])
            if len(self.buffer) < end + 4 + length:
                return
            body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
            if b'"stream":true' in body:
                self.stream()
            else:
                self.transport.write(PLAIN_REPLY)

    def stream(self) -> None:
        """Each event in a write of its own, a turn of the loop apart, as providers send them."""
        loop = asyncio.get_running_loop()
        self.transport.write(STREAM_HEAD)
        parts = iter(STREAM_PARTS)

        def step() -> None:
            part = next(parts, None)
            if self.transport.is_closing():
                return
            self.transport.write(STREAM_END if part is None else part)
            if part is not None:
                loop.call_later(0.001, step)

        step()


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
