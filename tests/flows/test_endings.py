"""Every other way a call can end, and its price: callers that leave early, upstreams that stop half-way, retries."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.flows.bills import bill
from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT, ENDPOINTS, IMAGES, MESSAGES, Endpoint, Tokens
from tests.flows.raw_socket import Connection
from tests.flows.rig import Operator, Person, Server, eventually
from tests.flows.test_upstream_failures import assert_failed
from tests.flows.upstream import Answer, Cut, ScriptedUpstream, plain, served, streamed

TOKENS = Tokens(input=1_000, output=400)
BOTH = pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
EACH = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)


def assert_charged_once(person: Person, endpoint: Endpoint, *, status: str) -> None:
    """One record, one entry, the upstream's own count, nothing held."""
    record = person.newest_record()
    cost = bill(endpoint.model, input=TOKENS.input, output=TOKENS.output)
    assert (record["status"], record["estimated"], record["credits_charged"]) == (status, False, cost)
    entries = person.operator.run("explain", record["request_id"])["entries"]
    assert [(entry["kind"], entry["credits"]) for entry in entries] == [("charge", cost)]
    assert (person.balance, person.held, len(person.records())) == (person.opening_balance - cost, 0, 1)


@EACH
def test_a_caller_that_leaves_within_its_request_costs_nothing(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint
) -> None:
    script = add_upstream(endpoint, served(endpoint, TOKENS))
    content = json.dumps(endpoint.body()).encode()
    with Connection(alice.server.port) as connection:
        connection.head(endpoint.path, authorization=f"Bearer {alice.key}", content_length=str(len(content)))
        connection.send(content[:-5])
        time.sleep(0.1)
    time.sleep(0.2)
    assert (script.calls, alice.records()) == ([], [])
    alice.assert_paid_nothing()


@EACH
@BOTH
def test_a_caller_that_leaves_before_the_upstream_answers_pays_for_the_answer(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint, is_stream: bool
) -> None:
    """The upstream is at work, and will want its money."""
    answer = streamed(endpoint.events(TOKENS)) if is_stream else plain(endpoint.reply(TOKENS))
    script = add_upstream(endpoint, replace(answer, pause_s=0.5))
    with Connection(alice.server.port) as connection:
        connection.post(endpoint.path, endpoint.body(stream=is_stream), key=alice.key)
        eventually(lambda: len(script.calls) == 1)
    eventually(lambda: len(alice.records()) == 1)
    # A plain reply is sent to whoever is there; that nobody was is not known.
    assert_charged_once(alice, endpoint, status="abandoned" if is_stream else "succeeded")


@EACH
def test_a_caller_that_leaves_when_only_the_end_is_missing_pays_what_was_counted(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint
) -> None:
    events = endpoint.events(TOKENS)
    # Chat withholds from the finish on, messages from the delta with the count on: the pause is after that.
    withheld = {"chat": -2, "messages": -1}.get(endpoint.name, -1)
    add_upstream(endpoint, streamed([*events[:withheld], 0.6, *events[withheld:]]))
    with Connection(alice.server.port) as connection:
        connection.post(endpoint.path, endpoint.body(stream=True), key=alice.key)
        connection.receive_until(b"partial_image" if endpoint is IMAGES else b"ran.")
        time.sleep(0.2)
    eventually(lambda: len(alice.records()) == 1)
    assert_charged_once(alice, endpoint, status="abandoned")


@EACH
@pytest.mark.parametrize("deadline", ["idle_timeout_ms", "total_timeout_ms"])
def test_a_plain_reply_that_stops_half_way_is_free(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint, deadline: str
) -> None:
    whole = endpoint.reply(TOKENS)
    steps: list[Any] = [whole[:20], 30.0, whole[20:]]
    if deadline == "total_timeout_ms":
        # It drips: never silent for long, never done.
        steps = [step for byte in whole[:40] for step in (bytes([byte]), 0.2)]
    script = add_upstream(endpoint, replace(plain(whole), steps=steps), **{deadline: 1_000})
    began = time.monotonic()
    reply = alice.call(endpoint.path, endpoint.body())
    assert time.monotonic() - began < 4
    assert_failed(alice, reply, endpoint, 504, "upstream_timeout")
    eventually(lambda: script.hung_up == 1)


def test_an_error_that_never_ends_is_an_error_all_the_same(alice: Person, add_upstream: AddUpstream) -> None:
    add_upstream(CHAT, Answer(400, {"content-length": "500", "content-type": "application/json"}, [b"{", 60.0]))
    began = time.monotonic()
    reply = alice.call(CHAT.path, CHAT.body())
    assert time.monotonic() - began < 8
    assert_failed(alice, reply, CHAT, 400, "invalid_request")


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port where connections hang: its queue is full, and nobody takes them out of it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for caller in waiting:
            caller.setblocking(False)
            caller.connect_ex(("127.0.0.1", port))
        try:
            yield port
        finally:
            for caller in waiting:
                caller.close()


@EACH
def test_an_upstream_that_takes_no_connection_in_time(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint
) -> None:
    with deaf_port() as port:
        add_upstream(endpoint, served(endpoint), base_url=f"http://127.0.0.1:{port}", connect_timeout_ms=400)
        began = time.monotonic()
        reply = alice.call(endpoint.path, endpoint.body())
        assert 0.3 < time.monotonic() - began < 3
    assert_failed(alice, reply, endpoint, 502, "upstream_error")


@EACH
def test_a_stream_past_its_total_time_before_a_word_was_said_is_free(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint
) -> None:
    add_upstream(endpoint, streamed([20.0]), total_timeout_ms=1_000)
    reply = alice.call(endpoint.path, endpoint.body(stream=True))
    assert_failed(alice, reply, endpoint, 504, "upstream_timeout")


@EACH
@BOTH
def test_of_three_attempts_the_one_that_works_is_paid_once(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint, is_stream: bool
) -> None:
    # The second one dies after its head and before a word: still nothing that the caller could have heard.
    refusing = add_upstream(endpoint, plain(b"{}", status=503), priority=0)
    breaking = add_upstream(endpoint, Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-ty"), priority=1)
    working = add_upstream(endpoint, served(endpoint, TOKENS), priority=2)
    reply = alice.call(endpoint.path, endpoint.body(stream=is_stream))
    assert reply.status == 200
    assert [len(script.calls) for script in (refusing, breaking, working)] == [1, 1, 1]
    assert alice.record_of(reply.headers["x-request-id"])["route"] == working.route_id
    assert_charged_once(alice, endpoint, status="succeeded")


@EACH
@BOTH
def test_three_failed_attempts_cost_nothing(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint, is_stream: bool
) -> None:
    for priority, answer in enumerate([plain(b"{}", status=500), Answer(raw=b""), plain(b"{}", status=529)]):
        add_upstream(endpoint, answer, priority=priority)
    reply = alice.call(endpoint.path, endpoint.body(stream=is_stream))
    assert_failed(alice, reply, endpoint, 503, "upstream_overloaded")
    assert alice.operator.run("explain", reply.headers["x-request-id"])["entries"] == []


@pytest.mark.parametrize("endpoint", [CHAT, MESSAGES], ids=lambda endpoint: endpoint.name)
def test_a_break_after_the_count_is_free_all_the_same(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint
) -> None:
    """The caller never had the end, so it has nothing to pay for."""
    add_upstream(endpoint, streamed([*endpoint.events(TOKENS)[:-1], 0.05, Cut]))
    reply = alice.call(endpoint.path, endpoint.body(stream=True))
    record = alice.record_of(reply.headers["x-request-id"])
    assert (record["status"], record["error_code"], record["credits_charged"]) == ("failed", "upstream_error", 0)
    assert b"credits_charged" not in reply.body
    alice.assert_paid_nothing()


def test_a_server_that_is_asked_to_stop_finishes_its_streams(installation: Server, scripted: ScriptedUpstream) -> None:
    installation.start()
    operator = Operator(installation)
    alice = operator.person("alice")
    script = scripted.script(served(CHAT, TOKENS, gap_s=0.25))
    operator.run(
        "add_route", CHAT.model, "--provider", "scripted", "--dialect", CHAT.dialect,
        "--base-url", script.base_url + CHAT.base_path, "--upstream-model", "theirs",
    )  # fmt: skip
    operator.tell_server()
    with Connection(installation.port) as connection:
        connection.post(CHAT.path, CHAT.body(stream=True), key=alice.key)
        connection.receive_until(b"data: ")
        assert installation.stop() == 0
        assert b"credits_charged" in connection.receive_until(b"[DONE]")
    assert_charged_once(alice, CHAT, status="succeeded")
    assert operator.run("verify_ledger")["problems"] == []
    operator.close()
