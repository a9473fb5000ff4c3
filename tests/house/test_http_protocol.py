"""What callers can do to the server before the application sees a request: raw bytes on real sockets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from hypereal.environment import Environment
from hypereal.http_protocol import DRAIN_BYTES, FRAMING_BYTES, HEAD_BYTES, HEAD_LINES
from tests.house.raw_http import STREAMED_EVENTS, Caller, HastyProtocol, parse_head, served

GET = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def port(local_environment: Environment) -> Iterator[int]:
    with served(local_environment) as port:
        yield port


def refusal(received: bytes) -> tuple[int, str]:
    """Status and code of a refusal that ended the connection, in OpenAI's error shape."""
    head, _, body = received.partition(b"\r\n\r\n")
    status, headers = parse_head(head)
    assert headers["connection"] == "close"
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"] == headers["request-id"]
    assert headers["request-id"].startswith("req_")
    assert int(headers["content-length"]) == len(body)
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return status, error["code"]


# Slow callers


def test_slow_head_is_told_408_and_closed(port: int) -> None:
    began = time.monotonic()
    with Caller(port) as caller:
        caller.send(b"GET /echo HTTP/1.1\r\nHost: x\r\n")
        assert refusal(caller.everything()) == (408, "request_timeout")
    assert time.monotonic() - began < 3 * HastyProtocol.head_s


def test_a_byte_now_and_then_does_not_buy_time(port: int) -> None:
    with Caller(port) as caller:
        began = time.monotonic()
        caller.socket.settimeout(0.05)
        received = b""
        for byte in GET * 3:
            try:
                caller.send(bytes([byte]))
                received += caller.socket.recv(4096)
            except TimeoutError:
                continue
            if received:
                break
        assert refusal(received)[0] == 408
        assert time.monotonic() - began < 3 * HastyProtocol.head_s


def test_a_connection_that_says_nothing_is_closed_without_a_word(port: int) -> None:
    with Caller(port) as caller:
        assert caller.everything() == b""


def test_stray_line_ends_between_requests_are_not_a_request_and_buy_no_time(port: int) -> None:
    with Caller(port) as caller:
        caller.send(GET)
        assert caller.reply()[0] == 200
        caller.send(b"\r\n")
        assert caller.everything() == b""


def test_the_second_head_of_a_connection_has_a_deadline_too(port: int) -> None:
    with Caller(port) as caller:
        caller.send(GET)
        assert caller.reply()[0] == 200
        caller.send(b"GET /ec")
        assert refusal(caller.everything()) == (408, "request_timeout")


def test_an_idle_connection_outlives_the_head_deadline(port: int) -> None:
    with Caller(port) as caller:
        caller.send(GET)
        assert caller.reply()[0] == 200
        time.sleep(2 * HastyProtocol.head_s)
        caller.send(GET)
        assert caller.reply()[0] == 200


def test_a_slow_body_is_the_applications_affair(port: int) -> None:
    with Caller(port) as caller:
        caller.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
        for byte in b"body":
            time.sleep(HastyProtocol.head_s / 2)
            caller.send(bytes([byte]))
        status, _, body = caller.reply()
        assert (status, json.loads(body)["body_bytes"]) == (200, 4)


def test_an_anthropic_caller_is_refused_in_anthropics_shape(port: int) -> None:
    with Caller(port) as caller:
        caller.send(b"POST /v1/messages HTTP/1.1\r\nHost: x\r\n")
        head, _, body = caller.everything().partition(b"\r\n\r\n")
    status, headers = parse_head(head)
    told = json.loads(body)
    assert (status, told["type"], told["error"]["type"]) == (408, "error", "timeout_error")
    assert told["request_id"] == headers["request-id"]


# Large heads


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"X-Large: " + b"a" * 66 * 1024 + b"\r\n", id="one header"),
        pytest.param(b"X-Large: " + b"a" * 1024 * 1024, id="one header without end"),
        pytest.param(b"".join(b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(66)), id="66 headers"),
        pytest.param(b"X: y\r\n" * (HEAD_LINES + 1), id="too many lines"),
    ],
)
def test_large_head_is_told_431(port: int, head: bytes) -> None:
    with Caller(port) as caller:
        caller.send(b"GET /echo HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n")
        assert refusal(caller.everything()) == (431, "invalid_request")


def test_large_target_is_told_431(port: int) -> None:
    with Caller(port) as caller:
        caller.send(b"GET /" + b"a" * 66 * 1024 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert refusal(caller.everything()) == (431, "invalid_request")


def test_a_large_head_behind_another_request_is_told_431(port: int) -> None:
    with Caller(port) as caller:
        caller.send(GET + b"GET /echo HTTP/1.1\r\nHost: x\r\nX-Large: " + b"a" * 66 * 1024 + b"\r\n\r\n")
        received = caller.everything()
    assert b"HTTP/1.1 200 OK" in received
    assert b'"body_bytes": 66' not in received


def test_a_head_just_within_the_bound_is_served(port: int) -> None:
    with Caller(port) as caller:
        caller.send(b"GET /echo HTTP/1.1\r\nHost: x\r\nX-Large: " + b"a" * (HEAD_BYTES - 100) + b"\r\n\r\n")
        assert caller.reply()[0] == 200


def test_large_body_beside_a_small_head_is_served(port: int) -> None:
    body = b"a" * 1_000_000
    with Caller(port) as caller:
        caller.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body + GET)
        assert json.loads(caller.reply()[2])["body_bytes"] == len(body)
        assert caller.reply()[0] == 200


# Smuggling


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="a length beside chunks",
        ),
        pytest.param(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
            id="chunks beside a length",
        ),
        pytest.param(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody!", id="two lengths"
        ),
        pytest.param(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", id="negative length"),
        pytest.param(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\nbody", id="signed length"),
        pytest.param(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            id="chunked is not last",
        ),
        pytest.param(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
            id="negative chunk",
        ),
        pytest.param(b"GET /echo HTTP/1.1\nHost: x\n\n", id="bare line feeds"),
        pytest.param(b"GET /echo HTTP/1.1\r\nHost: x\r\nX-A: b\nX-C: d\r\n\r\n", id="bare line feed in a header"),
        pytest.param(b"GET /echo HTTP/1.1\r\nHost : x\r\n\r\n", id="space before the colon"),
        pytest.param(b"GET /echo HTTP/1.1\r\nHost: x\r\nX-A: b\x00c\r\n\r\n", id="a null"),
        pytest.param(b"GET /ec\xffho HTTP/1.1\r\nHost: x\r\n\r\n", id="a target that is not ASCII"),
        pytest.param(b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", id="a tunnel"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", id="TLS on the plain port"),
    ],
)
def test_what_smuggles_is_refused(port: int, request_bytes: bytes) -> None:
    with Caller(port) as caller:
        caller.send(request_bytes + GET)
        assert refusal(caller.everything()) == (400, "invalid_request")


def test_trailers_never_join_the_headers(port: int) -> None:
    with Caller(port) as caller:
        caller.send(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"4\r\nbody\r\n0\r\nAuthorization: Bearer stolen\r\n\r\n"
        )
        told = json.loads(caller.reply()[2])
    assert told["body_bytes"] == 4
    assert [name for name, _ in told["headers"]] == ["host", "transfer-encoding"]


@pytest.mark.parametrize("framing", [b"4;" + b"a" * 2 * FRAMING_BYTES, b"0\r\nX-Trailer: " + b"a" * 2 * FRAMING_BYTES])
def test_framing_without_a_body_is_refused(port: int, framing: bytes) -> None:
    with Caller(port) as caller:
        caller.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + framing)
        assert refusal(caller.everything()) == (400, "invalid_request")


def test_forwarding_headers_of_strangers_are_not_believed(port: int) -> None:
    with Caller(port) as caller:
        caller.send(b"GET /echo HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
        assert json.loads(caller.reply()[2])["client"] == "127.0.0.1"


# Replies that are under way


def test_garbage_behind_a_request_does_not_cut_its_reply(port: int) -> None:
    with Caller(port) as caller:
        caller.send(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.1)
        caller.send(b"\x00garbage\r\n\r\n")
        received = caller.everything()
    assert received.count(b"HTTP/1.1 ") == 1
    assert received.count(b"event ") == STREAMED_EVENTS
    assert received.endswith(b"the end\n\r\n0\r\n\r\n")


@pytest.mark.parametrize("extra", [b"GET /ec", b"\r\n"])
def test_an_unfinished_second_request_does_not_cut_the_first_reply(port: int, extra: bytes) -> None:
    with Caller(port) as caller:
        caller.send(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.1)
        caller.send(extra)
        received = caller.everything()
    assert received.count(b"HTTP/1.1 ") == 1
    assert received.endswith(b"the end\n\r\n0\r\n\r\n")


def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    with Caller(port) as caller:
        caller.send(b"".join(b"GET /echo?%d HTTP/1.1\r\nHost: x\r\nX-Number: %d\r\n\r\n" % (n, n) for n in range(3)))
        received = b""
        while received.count(b"body_bytes") < 3:
            received += caller.socket.recv(65536)
    places = [received.index(b'["x-number", "%d"]' % n) for n in range(3)]
    assert places == sorted(places)


# Bodies that nobody reads


def test_refusal_before_the_body_reaches_a_caller_that_is_still_sending(port: int) -> None:
    body = b"a" * 4_000_000
    with Caller(port) as caller:
        caller.send(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
        caller.send(body)
        assert caller.reply()[0] == 401
        caller.send(GET)
        assert caller.reply()[0] == 200


def test_a_body_that_nobody_reads_has_a_deadline(port: int) -> None:
    with Caller(port) as caller:
        caller.send(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
        assert caller.reply()[0] == 401
        assert caller.everything() == b""


def test_a_body_that_nobody_reads_has_a_size(port: int) -> None:
    with Caller(port) as caller:
        caller.send(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert caller.reply()[0] == 401
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            caller.send(bytes(3 * DRAIN_BYTES))


# Connections


def test_one_connection_too_many_is_told_503(port: int) -> None:
    callers = [Caller(port) for _ in range(HastyProtocol.max_connections)]
    try:
        for caller in callers:
            caller.send(GET)
            assert caller.reply()[0] == 200
        with Caller(port) as late:
            assert refusal(late.everything()) == (503, "queue_full")
    finally:
        for caller in callers:
            caller.socket.close()
    time.sleep(0.1)
    with Caller(port) as caller:
        caller.send(GET)
        assert caller.reply()[0] == 200
