"""Callers may compress what they send, with gzip or zstd: served and billed as if they had not."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any, Final

import pytest
import zstandard

from apps.gateway.guard import MAX_BODY_BYTES
from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT, ENDPOINTS, MESSAGES, Endpoint
from tests.flows.raw_socket import Connection
from tests.flows.rig import Person, Reply
from tests.flows.upstream import served

PACK: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
EACH = pytest.mark.parametrize("encoding", sorted(PACK))


def call_packed(person: Person, path: str, body: dict[str, Any] | bytes, encoding: str) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return person.call(path, PACK[encoding](raw), content_encoding=encoding)


@EACH
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_a_compressed_body_costs_what_it_costs_uncompressed(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint, encoding: str
) -> None:
    script = add_upstream(endpoint, served(endpoint))
    body = endpoint.body(**endpoint.at_most(50))
    plain, packed = alice.call(endpoint.path, body), call_packed(alice, endpoint.path, body, encoding)
    assert (packed.status, packed.billing["credits_charged"]) == (200, plain.billing["credits_charged"])
    first, second = script.calls
    assert first.body == second.body
    assert "content-encoding" not in second.headers


@EACH
def test_tokens_are_counted_too(alice: Person, encoding: str) -> None:
    path = "/v1/messages/count_tokens"
    body = {name: value for name, value in MESSAGES.body().items() if name != "max_tokens"}
    plain, packed = alice.call(path, body), call_packed(alice, path, body, encoding)
    assert (packed.status, packed.json) == (200, plain.json)


@EACH
def test_the_bound_is_that_of_the_unpacked_body(alice: Person, encoding: str) -> None:
    body = b'{"model": "no-such-model", "messages": [{"role": "user", "content": "%b"}]}'
    text = b"x" * (MAX_BODY_BYTES - len(body) + 2)
    assert call_packed(alice, CHAT.path, body % text, encoding).refusal == (404, "model_not_found")
    assert call_packed(alice, CHAT.path, body % (text + b"x"), encoding).refusal == (413, "body_too_large")


def test_a_bomb_is_refused_while_it_arrives(alice: Person) -> None:
    """A gigabyte in a megabyte, sent in pieces by a caller that never stops."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, 31)
    with Connection(alice.server.port) as connection:
        connection.head(
            CHAT.path,
            authorization=f"Bearer {alice.key}",
            transfer_encoding="chunked",
            content_encoding="gzip",
        )
        for _ in range(64):
            piece = squeezer.compress(bytes(1_000_000))
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"")
        assert connection.reply().refusal == (413, "body_too_large")
    alice.assert_paid_nothing()


@EACH
@pytest.mark.parametrize("endpoint", [CHAT, MESSAGES], ids=lambda endpoint: endpoint.name)
def test_what_is_damaged_is_a_clear_refusal(alice: Person, endpoint: Endpoint, encoding: str) -> None:
    raw = json.dumps(endpoint.body()).encode()
    for damaged in (raw, PACK[encoding](raw)[:-3]):
        reply = alice.call(endpoint.path, damaged, content_encoding=encoding)
        assert reply.refusal == (400, "invalid_request")
        assert "content-encoding" in reply.error["message"]
    alice.assert_paid_nothing()
