"""The guard at the door: keys before bodies, bounds on bodies, answers that whoever was refused can read."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from apps.keys.rules import make_key
from tests.flows.endpoints import CHAT, ENDPOINTS, MESSAGES, Endpoint
from tests.flows.raw_socket import Connection
from tests.flows.rig import Person, Server

MAX_BODY_BYTES = 33_554_432
PIECE = b"x" * 65_536
EACH = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)


def resident_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@EACH
def test_a_body_that_is_too_large_is_refused_by_its_length(alice: Person, endpoint: Endpoint) -> None:
    with Connection(alice.server.port) as connection:
        connection.head(endpoint.path, authorization=f"Bearer {alice.key}", content_length=str(MAX_BODY_BYTES + 1))
        reply = connection.reply()
        assert reply.refusal == (413, "body_too_large")
        # The caller sends on, as clients do, and is not reset before it has read the answer.
        for _ in range(MAX_BODY_BYTES // len(PIECE)):
            connection.send(PIECE)
        connection.send(b"x")
        assert connection.is_closed()
    kind = "request_too_large" if endpoint.is_anthropic else "invalid_request_error"
    assert reply.error["type"] == kind
    assert reply.headers["connection"] == "close"
    alice.assert_paid_nothing()


@EACH
def test_a_body_that_is_too_large_is_refused_while_it_comes(alice: Person, endpoint: Endpoint) -> None:
    with Connection(alice.server.port) as connection:
        connection.head(endpoint.path, authorization=f"Bearer {alice.key}", transfer_encoding="chunked")
        for _ in range(MAX_BODY_BYTES // len(PIECE)):
            connection.send(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
        connection.send(b"1\r\nx\r\n0\r\n\r\n")
        reply = connection.reply()
    assert reply.refusal == (413, "body_too_large")
    alice.assert_paid_nothing()


def test_the_largest_body_is_taken(alice: Person) -> None:
    body = b'{"model": "no-such-model", "messages": [{"role": "user", "content": "%b"}]}'
    text = b"x" * (MAX_BODY_BYTES - len(body) + 2)
    whole = body % text
    assert len(whole) == MAX_BODY_BYTES
    assert alice.call(CHAT.path, whole).refusal == (404, "model_not_found")


@EACH
def test_a_stranger_is_refused_before_the_body_is_read(server: Server, endpoint: Endpoint) -> None:
    with Connection(server.port) as connection:
        connection.head(endpoint.path, authorization=f"Bearer {make_key()}", content_length=str(10 * MAX_BODY_BYTES))
        began = time.monotonic()
        reply = connection.reply()
        assert time.monotonic() - began < 2
    assert reply.refusal == (401, "invalid_api_key")
    assert reply.headers["connection"] == "close"


def test_a_strangers_flood_is_thrown_away_and_ended(server: Server) -> None:
    before_kb = resident_kb(server.pid)
    with Connection(server.port) as connection:
        connection.head(MESSAGES.path, x_api_key=make_key(), content_length=str(10**12))
        assert connection.reply().refusal == (401, "invalid_api_key")
        began, sent, is_ended = time.monotonic(), 0, False
        while not is_ended and time.monotonic() - began < 60:
            try:
                connection.send(PIECE)
            except OSError:
                is_ended = True
            sent += len(PIECE)
    assert is_ended
    assert sent <= 5 * MAX_BODY_BYTES
    assert resident_kb(server.pid) - before_kb < 64 * 1024


def test_no_body_is_written_to_disk(alice: Person) -> None:
    def files() -> set[str]:
        return {entry for entry in os.listdir(tempfile.gettempdir()) if "upload" in entry}

    before = files()
    with Connection(alice.server.port) as connection:
        connection.head(CHAT.path, authorization=f"Bearer {alice.key}", content_length=str(MAX_BODY_BYTES))
        for _ in range(MAX_BODY_BYTES // len(PIECE) - 1):
            connection.send(PIECE)
        open_files = {os.readlink(link) for link in Path(f"/proc/{alice.server.pid}/fd").iterdir() if link.is_symlink()}
        assert files() == before
    assert not [path for path in open_files if "deleted" in path]


def test_a_caller_that_leaves_within_its_body_leaves_nothing(alice: Person) -> None:
    with Connection(alice.server.port) as connection:
        connection.head(CHAT.path, authorization=f"Bearer {alice.key}", content_length="1000")
        connection.send(b'{"model": ')
    assert alice.call(CHAT.path, CHAT.body()).status == 200
    assert len(alice.records()) == 1


def test_who_expects_to_be_told_to_go_on_is_told(alice: Person) -> None:
    with Connection(alice.server.port) as connection:
        connection.head(CHAT.path, authorization=f"Bearer {alice.key}", content_length="1000", expect="100-continue")
        assert connection.receive_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
    with Connection(alice.server.port) as connection:
        connection.head(CHAT.path, authorization="Bearer ck_no", content_length="1000", expect="100-continue")
        assert connection.receive_until(b"\r\n\r\n").startswith(b"HTTP/1.1 401 ")


@EACH
@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, identity"])
def test_encodings_that_nobody_sends_are_refused_unread(alice: Person, endpoint: Endpoint, encoding: str) -> None:
    with Connection(alice.server.port) as connection:
        connection.head(
            endpoint.path,
            authorization=f"Bearer {alice.key}",
            content_length="1000000",
            content_encoding=encoding,
        )
        assert connection.reply().refusal == (415, "unsupported_encoding")


def test_a_connection_serves_call_after_call(alice: Person) -> None:
    with Connection(alice.server.port) as connection:
        for _ in range(3):
            connection.post(CHAT.path, CHAT.body(), key=alice.key)
            assert connection.reply().status == 200
        connection.post(CHAT.path, {"model": 7}, key=alice.key)
        assert connection.reply().refusal == (400, "invalid_request")
        connection.post(CHAT.path, CHAT.body(), key=alice.key)
        assert connection.reply().status == 200
