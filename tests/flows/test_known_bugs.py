"""Bugs that other gateways shipped where protocol meets money, each by its number and with where it was reported: for
callers of each text protocol, over upstreams of each. The others stand in tests/dialects/test_known_bugs.py.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.flows.bills import bill
from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT, MESSAGES, RESPONSES, TEXT_ENDPOINTS, Endpoint, Tokens, typed
from tests.flows.raw_socket import Connection
from tests.flows.rig import Person, eventually
from tests.flows.upstream import plain, served, streamed

TOKENS = Tokens(input=1_000, output=400)
EACH_CALLER = pytest.mark.parametrize("caller", TEXT_ENDPOINTS, ids=lambda endpoint: f"from-{endpoint.name}")
EACH_UPSTREAM = pytest.mark.parametrize("upstream", TEXT_ENDPOINTS, ids=lambda endpoint: f"to-{endpoint.name}")
BOTH = pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])


def assert_one_record(person: Person, upstream: Endpoint, *, status: str, tokens: Tokens) -> None:
    record = person.newest_record()
    cost = bill(upstream.model, input=tokens.input, output=tokens.output)
    assert (record["status"], record["estimated"], record["credits_charged"]) == (status, False, cost)
    assert (person.balance, person.held, len(person.records())) == (person.opening_balance - cost, 0, 1)


# 9. A caller that hangs up leaves no bill, or a part of one: litellm#14457, #30630, #33736, #36008, #37992.


@EACH_CALLER
@EACH_UPSTREAM
def test_bug_09_a_caller_that_hangs_up_pays_what_the_upstream_counts_at_its_end(
    alice: Person, add_upstream: AddUpstream, caller: Endpoint, upstream: Endpoint
) -> None:
    script = add_upstream(upstream, served(upstream, TOKENS, gap_s=0.1))
    with Connection(alice.server.port) as connection:
        connection.post(caller.path, caller.body(model=upstream.model, stream=True), key=alice.key)
        connection.receive_until(b"Twel")
    eventually(lambda: len(alice.records()) == 1)
    assert_one_record(alice, upstream, status="abandoned", tokens=TOKENS)
    assert eventually(lambda: script.completed == 1)


@EACH_CALLER
@EACH_UPSTREAM
@BOTH
def test_bug_09_a_count_of_zero_is_not_replaced_by_an_estimate(
    alice: Person, add_upstream: AddUpstream, caller: Endpoint, upstream: Endpoint, is_stream: bool
) -> None:
    add_upstream(upstream, served(upstream, Tokens(input=0, output=0)))
    reply = alice.call(caller.path, caller.body(model=upstream.model, stream=is_stream))
    assert reply.status == 200
    assert_one_record(alice, upstream, status="succeeded", tokens=Tokens(input=0, output=0))


# 10. Responses that end early are billed as nothing: new-api#7241.


def ended(status: str, tokens: Tokens | None, **details: Any) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(RESPONSES.reply(tokens or TOKENS))
    return {**whole, "status": status, **({"usage": None} if tokens is None else {}), **details}


@EACH_CALLER
@BOTH
def test_bug_10_an_incomplete_response_is_billed(
    alice: Person, add_upstream: AddUpstream, caller: Endpoint, is_stream: bool
) -> None:
    incomplete = ended("incomplete", TOKENS, incomplete_details={"reason": "max_output_tokens"})
    events = RESPONSES.events(TOKENS)
    last = typed({"type": "response.incomplete", "sequence_number": len(events) - 1, "response": incomplete})
    answer = streamed([*events[:-1], last]) if is_stream else plain(json.dumps(incomplete).encode())
    add_upstream(RESPONSES, answer)
    reply = alice.call(caller.path, caller.body(model=RESPONSES.model, stream=is_stream))
    assert reply.status == 200
    assert_one_record(alice, RESPONSES, status="succeeded", tokens=TOKENS)
    told = {CHAT: b'"length"', MESSAGES: b'"max_tokens"', RESPONSES: b"max_output_tokens"}
    assert told[caller] in reply.body


@EACH_CALLER
@BOTH
def test_bug_10_a_failed_response_is_an_error_and_free(
    alice: Person, add_upstream: AddUpstream, caller: Endpoint, is_stream: bool
) -> None:
    failed = ended("failed", None, error={"code": "server_error", "message": "The model broke."})
    events = RESPONSES.events(TOKENS)
    last = typed({"type": "response.failed", "sequence_number": len(events) - 1, "response": failed})
    answer = streamed([*events[:-1], last]) if is_stream else plain(json.dumps(failed).encode())
    add_upstream(RESPONSES, answer)
    reply = alice.call(caller.path, caller.body(model=RESPONSES.model, stream=is_stream))
    record = alice.newest_record()
    assert (record["status"], record["error_code"], record["credits_charged"]) == ("failed", "upstream_error", 0)
    assert b"The model broke." in reply.body
    assert b'"hypereal"' not in reply.body
    alice.assert_paid_nothing()


# 8, with its consequence: an error within a stream is told as one, is free, and is no end of an answer.


@EACH_CALLER
def test_bug_08_an_error_within_a_stream_reaches_every_caller_and_is_free(
    alice: Person, add_upstream: AddUpstream, caller: Endpoint
) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}
    events = MESSAGES.events(TOKENS)
    add_upstream(MESSAGES, streamed([*events[:4], 0.3, typed(error)]))
    reply = alice.call(caller.path, caller.body(model=MESSAGES.model, stream=True))
    last = reply.events[-1]
    assert "upstream_overloaded" in json.dumps(last)
    ends = {CHAT: b"[DONE]", MESSAGES: b"message_stop", RESPONSES: b"response.completed"}
    assert ends[caller] not in reply.body
    assert alice.newest_record()["status"] == "failed"
    alice.assert_paid_nothing()
