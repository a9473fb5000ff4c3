"""The HTTP transport against real sockets, well behaved and not."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Callable

import pytest

from apps.upstreams.transport.http import CHUNK_BYTES, HttpTransport
from apps.upstreams.transport.protocol import (
    UpstreamBroken,
    UpstreamCall,
    UpstreamGone,
    UpstreamReply,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from tests.upstreams.serving import free_port, scripted


class Upstream:
    """Answers each request with the next of its scripts and remembers what it was sent, connection by connection."""

    def __init__(self, *replies: bytes, stays_open: bool = True, pause_s: float = 0.0) -> None:
        self.replies = list(replies)
        self.stays_open = stays_open
        self.pause_s = pause_s
        self.connections = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.ended = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.replies:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                size = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                self.bodies.append(await reader.readexactly(int(size[1]) if size else 0))
                for place, part in enumerate(self.replies.pop(0).split(b"|PAUSE|")):
                    if place:
                        await asyncio.sleep(self.pause_s)
                    writer.write(part)
                    await writer.drain()
                if not self.stays_open:
                    break
            else:
                await reader.read(1)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the test is over, or its caller hung up
        finally:
            self.ended.set()
            writer.close()


def reply(body: bytes, *more: str, status: str = "200 OK") -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", *more, f"Content-Length: {len(body)}", "", ""])
    return head.encode() + body


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    transport = HttpTransport()
    await transport.open()
    yield transport
    await transport.close()


def call(url: str, *, body: bytes = b"{}", first_byte_timeout_s: float = 5.0, **headers: str) -> UpstreamCall:
    sent = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return UpstreamCall(url, sent, body, connect_timeout_s=2.0, first_byte_timeout_s=first_byte_timeout_s)


async def read(reply: UpstreamReply) -> bytes:
    body = await reply.read(1_000_000)
    reply.close()
    return body


async def test_a_call_arrives_as_it_was_written(transport: HttpTransport) -> None:
    upstream = Upstream(reply(b'{"ok":true}', "X-Request-ID: req_1", "Content-Type: application/json"))
    async with scripted(upstream) as root:
        got = await transport.send(call(f"{root}/v1/a%2Fb?x=%20y", body=b'{"model":"m"}', authorization="Bearer key"))
        assert (got.status, got.headers["x-request-id"]) == (200, "req_1")
        assert await read(got) == b'{"ok":true}'
    host = root.removeprefix("http://")
    assert upstream.heads[0].split(b"\r\n")[0] == b"POST /v1/a%2Fb?x=%20y HTTP/1.1"
    assert sorted(line.lower() for line in upstream.heads[0].decode().split("\r\n")[1:] if line) == [
        "accept-encoding: identity",
        "authorization: bearer key",
        "content-length: 13",
        "content-type: application/json",
        f"host: {host}",
    ]
    assert upstream.bodies == [b'{"model":"m"}']


async def test_a_refused_port_is_unreachable(transport: HttpTransport) -> None:
    port = free_port()
    with pytest.raises(UpstreamUnreachable) as caught:
        await transport.send(call(f"http://127.0.0.1:{port}/v1"))
    assert str(port) not in str(caught.value)
    assert caught.value.__cause__ is None
    for url in ("http://name.invalid/v1", "ftp://127.0.0.1/v1", "nonsense"):
        with pytest.raises(UpstreamUnreachable):
            await transport.send(call(url))


async def test_a_plain_server_does_not_speak_tls(transport: HttpTransport) -> None:
    async with scripted(Upstream(reply(b"{}"))) as root:
        with pytest.raises(UpstreamUnreachable):
            await transport.send(call(root.replace("http://", "https://")))


async def test_a_silent_server_times_out(transport: HttpTransport) -> None:
    upstream = Upstream(b"|PAUSE|" + reply(b"{}"), pause_s=5)
    async with scripted(upstream) as root:
        started_at = asyncio.get_running_loop().time()
        with pytest.raises(UpstreamTimeout):
            await transport.send(call(root, first_byte_timeout_s=0.1))
        assert 0.1 <= asyncio.get_running_loop().time() - started_at < 2


async def test_the_first_byte_deadline_ends_with_the_headers(transport: HttpTransport) -> None:
    upstream = Upstream(CHUNKED + b"2\r\nab\r\n|PAUSE|2\r\ncd\r\n0\r\n\r\n", pause_s=0.3)
    async with scripted(upstream) as root:
        got = await transport.send(call(root, first_byte_timeout_s=0.1))
        assert [chunk async for chunk in got.chunks()] == [b"ab", b"cd"]
        got.close()


async def test_a_large_body_comes_in_pieces_that_a_slow_reader_can_be_given(transport: HttpTransport) -> None:
    body = bytes(range(256)) * 4_096
    async with scripted(Upstream(reply(body))) as url:
        got = await transport.send(call(url))
        chunks = []
        async for chunk in got.chunks():
            chunks.append(chunk)
            await asyncio.sleep(0.005)  # meanwhile more has come than one piece
    assert max(len(chunk) for chunk in chunks) <= CHUNK_BYTES
    assert b"".join(chunks) == body


@pytest.mark.parametrize("begun", [CHUNKED + b"5\r\nhello\r\n", reply(b"hello world")[:-6]])
async def test_a_reply_that_breaks_off_is_broken(transport: HttpTransport, begun: bytes) -> None:
    async with scripted(Upstream(begun, stays_open=False)) as root:
        got = await transport.send(call(root))
        chunks = got.chunks()
        assert await anext(chunks) == b"hello"
        with pytest.raises(UpstreamBroken):
            await anext(chunks)
        got.close()


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000])
async def test_what_is_no_http_is_broken(transport: HttpTransport, answer: bytes) -> None:
    async with scripted(Upstream(answer, stays_open=False)) as root:
        with pytest.raises(UpstreamBroken):
            await transport.send(call(root))


@pytest.mark.parametrize(("answer", "is_gone"), [(b"", True), (b"HTTP/1.1 200 OK\r\nconte", False)])
async def test_a_connection_that_ends_before_a_reply_is_told_from_half_a_reply(
    transport: HttpTransport, answer: bytes, is_gone: bool
) -> None:
    async with scripted(Upstream(answer, stays_open=False)) as root:
        with pytest.raises(UpstreamBroken) as broken:
            await transport.send(call(root))
    assert isinstance(broken.value, UpstreamGone) == is_gone


async def test_redirects_are_returned_and_not_followed(transport: HttpTransport) -> None:
    async with scripted(Upstream(reply(b"{}"))) as elsewhere_root:
        upstream = Upstream(reply(b"moved", f"Location: {elsewhere_root}/", status="307 Temporary Redirect"))
        async with scripted(upstream) as root:
            got = await transport.send(call(root))
            assert (got.status, got.headers["location"]) == (307, f"{elsewhere_root}/")
            assert await read(got) == b"moved"
    assert upstream.connections == 1


async def test_cookies_are_forgotten(transport: HttpTransport) -> None:
    upstream = Upstream(reply(b"1", "Set-Cookie: who=alice"), reply(b"2"))
    async with scripted(upstream) as root:
        for _ in range(2):
            await read(await transport.send(call(root)))
    assert b"cookie" not in upstream.heads[1].lower()


@pytest.mark.parametrize("large", [reply(b"x" * 2_000), CHUNKED + b"7d0\r\n" + b"x" * 2_000 + b"\r\n0\r\n\r\n"])
async def test_a_large_reply_is_not_taken(transport: HttpTransport, large: bytes) -> None:
    async with scripted(Upstream(large)) as root:
        got = await transport.send(call(root))
        with pytest.raises(UpstreamTooLarge):
            await got.read(1_999)
        got.close()


async def test_an_encoding_that_was_not_asked_for_is_broken(transport: HttpTransport) -> None:
    async with scripted(Upstream(reply(gzip.compress(b"{}"), "Content-Encoding: gzip"))) as root:
        with pytest.raises(UpstreamBroken):
            await transport.send(call(root))


async def test_a_connection_is_used_again_after_a_whole_reply(transport: HttpTransport) -> None:
    upstream = Upstream(reply(b"one"), CHUNKED + b"3\r\ntwo\r\n0\r\n\r\n", reply(b"three"))
    async with scripted(upstream) as root:
        assert await read(await transport.send(call(root))) == b"one"
        streamed = await transport.send(call(root))
        assert [chunk async for chunk in streamed.chunks()] == [b"two"]
        streamed.close()
        streamed.close()
        assert await read(await transport.send(call(root))) == b"three"
    assert upstream.connections == 1


async def test_a_reply_closed_early_drops_its_connection(transport: HttpTransport) -> None:
    upstream = Upstream(CHUNKED + b"5\r\nhello\r\n", reply(b"again"))
    async with scripted(upstream) as root:
        got = await transport.send(call(root))
        assert await anext(got.chunks()) == b"hello"
        got.close()
        await asyncio.wait_for(upstream.ended.wait(), 2)
        assert await read(await transport.send(call(root))) == b"again"
    assert upstream.connections == 2


async def test_a_cancelled_call_drops_its_connection(transport: HttpTransport) -> None:
    upstream = Upstream(b"|PAUSE|", pause_s=0.2)
    async with scripted(upstream) as root:
        sending = asyncio.create_task(transport.send(call(root)))
        while not upstream.bodies:  # noqa: ASYNC110  (the upstream has no event for it)
            await asyncio.sleep(0.005)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await asyncio.wait_for(upstream.ended.wait(), 2)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda headers: {**headers, "x-a": "1\r\nx-b: 2"},
        lambda headers: {**headers, "x-a": "1\nx-b: 2"},
        lambda headers: {**headers, "x-a\r\nx-b": "2"},
        lambda headers: {**headers, "x-a": "1\0"},
    ],
)
async def test_a_header_never_becomes_two(
    transport: HttpTransport, spoil: Callable[[dict[str, str]], dict[str, str]]
) -> None:
    upstream = Upstream(reply(b"{}"))
    async with scripted(upstream) as root:
        with pytest.raises(ValueError, match="line break"):
            await transport.send(UpstreamCall(root, spoil({"accept": "*/*"}), b"{}", 1.0, 1.0))
    assert upstream.connections == 0


async def test_a_closed_transport_sends_nothing() -> None:
    transport = HttpTransport()
    with pytest.raises(UpstreamUnreachable):
        await transport.send(call("http://127.0.0.1:1/"))
    await transport.close()
