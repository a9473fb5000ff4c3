"""Every deadline of a route, set as operators set it: the right error, nothing charged, the slot free at once."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.flows.conftest import AddUpstream, SetPolicy
from tests.flows.endpoints import CHAT, MESSAGES, Endpoint
from tests.flows.rig import Operator, Person, eventually
from tests.flows.upstream import Answer, Step, served, streamed

DEADLINE_S = 0.6
LATE_S = 1.0
"""How late a slot may be free: a stream's deadlines are looked at once a second."""
BUSY_S = 1.0
"""What a busy machine adds to a call."""


@pytest.fixture(params=[CHAT, MESSAGES], ids=lambda endpoint: endpoint.name)
def endpoint(request: pytest.FixtureRequest, set_policy: SetPolicy) -> Endpoint:
    """On a model with a single slot and no queue: the next call is served only if the last one gave it back."""
    endpoint: Endpoint = request.param
    set_policy(endpoint.model, concurrency=1, queue_seconds=0)
    return endpoint


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that neither takes nor refuses connections: its backlog is full."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port: int = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(("127.0.0.1", port))
            yield port
        finally:
            for each in waiting:
                each.close()


def assert_over_in_time(
    person: Person, endpoint: Endpoint, code: str, *, stream: bool, deadline_s: float = DEADLINE_S
) -> None:
    began = time.monotonic()
    reply = person.call(endpoint.path, endpoint.body(stream=stream))
    took = time.monotonic() - began
    assert deadline_s <= took < deadline_s + LATE_S + BUSY_S
    record = person.record_of(reply.headers["x-request-id"])
    assert (record["status"], record["error_code"], record["credits_charged"]) == ("failed", code, 0)
    person.assert_paid_nothing()


def assert_next_is_served(
    person: Person, operator: Operator, add_upstream: AddUpstream, endpoint: Endpoint, route_id: str
) -> None:
    """The one slot is free: the next call is served, by another route."""
    operator.run("set_route", route_id, "--disable")
    add_upstream(endpoint, served(endpoint))
    assert person.call(endpoint.path, endpoint.body()).status == 200


BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


@BOTH
def test_connect(
    alice: Person, add_upstream: AddUpstream, operator: Operator, endpoint: Endpoint, stream: bool
) -> None:
    with black_hole() as port:
        script = add_upstream(
            endpoint, served(endpoint), base_url=f"http://127.0.0.1:{port}", connect_timeout_ms=int(DEADLINE_S * 1000)
        )
        assert_over_in_time(alice, endpoint, "upstream_error", stream=stream)
        assert_next_is_served(alice, operator, add_upstream, endpoint, script.route_id)


@BOTH
def test_first_byte(
    alice: Person, add_upstream: AddUpstream, operator: Operator, endpoint: Endpoint, stream: bool
) -> None:
    silent = Answer(200, {"content-length": "2"}, [b"{}"], pause_s=20.0)
    script = add_upstream(endpoint, silent, first_byte_timeout_ms=int(DEADLINE_S * 1000))
    assert_over_in_time(alice, endpoint, "upstream_timeout", stream=stream)
    assert (len(script.calls), eventually(lambda: script.hung_up)) == (1, 1)
    assert_next_is_served(alice, operator, add_upstream, endpoint, script.route_id)


@BOTH
def test_idle(alice: Person, add_upstream: AddUpstream, operator: Operator, endpoint: Endpoint, stream: bool) -> None:
    begun: Answer = (
        streamed([endpoint.events()[0], 20.0])
        if stream
        else Answer(200, {"content-length": "500", "content-type": "application/json"}, [b"{", 20.0])
    )
    script = add_upstream(endpoint, begun, idle_timeout_ms=int(DEADLINE_S * 1000))
    assert_over_in_time(alice, endpoint, "upstream_timeout", stream=stream)
    assert eventually(lambda: script.hung_up) == 1
    assert_next_is_served(alice, operator, add_upstream, endpoint, script.route_id)


def drip(data: bytes) -> list[Step]:
    """A byte every tenth of a second: never silent for long, and never at an end."""
    return [step for at in range(len(data)) for step in (data[at : at + 1], 0.1)]


def test_total_of_a_plain_reply(
    alice: Person, add_upstream: AddUpstream, operator: Operator, endpoint: Endpoint
) -> None:
    whole = endpoint.reply()
    slow = Answer(200, {"content-length": str(len(whole)), "content-type": "application/json"}, drip(whole))
    script = add_upstream(endpoint, slow, total_timeout_ms=int(DEADLINE_S * 1000))
    assert_over_in_time(alice, endpoint, "upstream_timeout", stream=False)
    assert eventually(lambda: script.hung_up) == 1
    assert_next_is_served(alice, operator, add_upstream, endpoint, script.route_id)


def test_total_of_a_stream_that_says_nothing_yet(
    alice: Person, add_upstream: AddUpstream, operator: Operator, endpoint: Endpoint
) -> None:
    slow = streamed(drip(b": still thinking, as I have been all along and will be for a good while longer\n" * 3))
    script = add_upstream(endpoint, slow, total_timeout_ms=int(DEADLINE_S * 1000))
    assert_over_in_time(alice, endpoint, "upstream_timeout", stream=True)
    assert_next_is_served(alice, operator, add_upstream, endpoint, script.route_id)


def test_total_of_a_stream_that_was_heard_ends_it_billed(
    alice: Person, add_upstream: AddUpstream, operator: Operator, endpoint: Endpoint
) -> None:
    events = endpoint.events(parts=100)
    steps: list[Step] = [step for event in events[:60] for step in (event, 0.2)]
    script = add_upstream(endpoint, streamed(steps), total_timeout_ms=1_000)
    began = time.monotonic()
    reply = alice.call(endpoint.path, endpoint.body(stream=True))
    assert 1.0 <= time.monotonic() - began < 1.0 + LATE_S + BUSY_S
    record = alice.record_of(reply.headers["x-request-id"])
    assert (record["status"], record["estimated"]) == ("succeeded", True)
    assert b'"max_tokens"' in reply.body or b'"length"' in reply.body
    assert_next_is_served(alice, operator, add_upstream, endpoint, script.route_id)
