"""What a call may cost at most: the advice that comes with a 402 is right, and what could be paid is not refused."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

import pytest

from apps.core import tokenizer
from tests.flows.bills import MODELS, bill
from tests.flows.conftest import AddUpstream, SetPolicy
from tests.flows.endpoints import CHAT, MESSAGES, RESPONSES, TEXT_ENDPOINTS, Endpoint, Tokens
from tests.flows.raw_socket import Connection
from tests.flows.rig import Operator, Person, eventually
from tests.flows.test_paying import bound_of
from tests.flows.upstream import served, streamed

EACH = pytest.mark.parametrize("endpoint", TEXT_ENDPOINTS, ids=lambda endpoint: endpoint.name)
STRICT = {"x_hypereal_strict_max_tokens": "true"}
ALWAYS_SAID: dict[str, dict[str, Any]] = {"chat": {}, "responses": {"store": False}}
"""What we add to every body of a dialect."""
PROSE = "The twelve dogs of the old house ran down to the river, where nobody had seen them before noon. " * 400
"""38 KB: 19,200 tokens by its bytes, fewer than half as many by any tokenizer."""


def short_of(operator: Operator, endpoint: Endpoint, body: dict[str, Any], *, output: int) -> Person:
    """Somebody with credits for so many tokens of this call's output, and not for one more."""
    return operator.person("alice", credits=str(bound_of(endpoint, body, output=output)))


@EACH
@pytest.mark.parametrize("headers", [{}, STRICT], ids=["least", "strict"])
def test_the_largest_maximum_that_is_told_is_granted_and_one_more_is_not(
    operator: Operator, add_upstream: AddUpstream, endpoint: Endpoint, headers: dict[str, str]
) -> None:
    script = add_upstream(endpoint, served(endpoint, Tokens(input=0, output=0)))
    body = endpoint.body(**endpoint.at_most(4_000))
    alice = short_of(operator, endpoint, body, output=3_210)
    refused = alice.call(endpoint.path, body, **headers)
    assert refused.refusal == (402, "insufficient_credits")
    largest = refused.error["hypereal"]["max_tokens"]
    assert largest == 3_210
    more = alice.call(endpoint.path, {**body, **endpoint.at_most(largest + 1)}, **headers)
    assert more.refusal == (402, "insufficient_credits")
    granted = alice.call(endpoint.path, {**body, **endpoint.at_most(largest)}, **headers)
    assert granted.status == 200
    assert [call.json[str(endpoint.maximum)] for call in script.calls] == [largest]
    assert "x-hypereal-max-tokens" not in granted.headers


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES], ids=lambda endpoint: endpoint.name)
def test_who_named_no_maximum_may_name_the_one_that_is_told(
    operator: Operator, add_upstream: AddUpstream, endpoint: Endpoint
) -> None:
    add_upstream(endpoint, served(endpoint, Tokens(input=0, output=0)))
    body = endpoint.body()
    alice = short_of(operator, endpoint, body, output=2_000)
    largest = alice.call(endpoint.path, body).error["hypereal"]["max_tokens"]
    # The field itself may cost up to twenty tokens of input.
    assert 1_900 < largest < 2_000
    assert alice.call(endpoint.path, {**body, **endpoint.at_most(largest)}).status == 200


def test_a_maximum_that_would_all_be_thinking_is_not_advised(operator: Operator, add_upstream: AddUpstream) -> None:
    script = add_upstream(MESSAGES, served(MESSAGES))
    thinking = {"type": "enabled", "budget_tokens": 2_048}
    body = MESSAGES.body(max_tokens=8_000, thinking=thinking)
    poor = short_of(operator, MESSAGES, body, output=2_000)
    assert poor.call(MESSAGES.path, body).error["hypereal"]["max_tokens"] == 0
    alice = short_of(operator, MESSAGES, body, output=3_000)
    assert alice.call(MESSAGES.path, body).error["hypereal"]["max_tokens"] == 3_000
    assert alice.call(MESSAGES.path, {**body, "max_tokens": 3_000}).status == 200
    # Where it is lowered, thinking still has its whole budget, and 4,096 tokens are left for the answer.
    rich = short_of(operator, MESSAGES, body, output=7_000)
    lowered = rich.call(MESSAGES.path, body)
    assert (lowered.status, script.calls[-1].json["thinking"]) == (200, thinking)
    assert int(lowered.headers["x-hypereal-max-tokens"]) == script.calls[-1].json["max_tokens"] >= 2_048 + 4_096


@EACH
@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
def test_a_poor_account_gets_a_shorter_answer_in_every_dialect(
    operator: Operator, add_upstream: AddUpstream, endpoint: Endpoint, is_stream: bool
) -> None:
    script = add_upstream(endpoint, served(endpoint, Tokens(input=100, output=10)))
    body = endpoint.body(stream=is_stream, **endpoint.at_most(60_000))
    alice = short_of(operator, endpoint, body, output=20_000)
    reply = alice.call(endpoint.path, body)
    told = int(reply.headers["x-hypereal-max-tokens"])
    assert (reply.status, script.calls[0].json[str(endpoint.maximum)]) == (200, told)
    # A quarter of what there is, or the least that is worth it; and not a token more than the grant pays for.
    assert 4_096 <= told < 20_000
    grant = operator.run("explain", reply.headers["x-request-id"])["credits_held"]
    assert bound_of(endpoint, body, output=told) <= grant < bound_of(endpoint, body, output=told + 1)


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES], ids=lambda endpoint: endpoint.name)
def test_a_maximum_is_inserted_where_the_caller_named_none(
    operator: Operator, add_upstream: AddUpstream, endpoint: Endpoint
) -> None:
    script = add_upstream(endpoint, served(endpoint, Tokens(input=100, output=10)))
    body = endpoint.body()
    alice = short_of(operator, endpoint, body, output=20_000)
    reply = alice.call(endpoint.path, body)
    told = int(reply.headers["x-hypereal-max-tokens"])
    untouched = {**body, "model": "theirs", **ALWAYS_SAID[endpoint.name]}
    assert script.calls[0].json == {**untouched, str(endpoint.maximum): told}
    rich = operator.person("bob", credits=10_000)
    rich.call(endpoint.path, body)
    assert script.calls[1].json == untouched


def test_no_answer_is_longer_than_what_was_held_for_it(alice: Person, add_upstream: AddUpstream) -> None:
    """The catalog says how much a model can write; who asks for more is told what it may."""
    script = add_upstream(CHAT, served(CHAT, Tokens(input=10, output=10)))
    most = MODELS[CHAT.model]["max_output_tokens"]
    reply = alice.call(CHAT.path, CHAT.body(max_tokens=10**9))
    assert (reply.headers["x-hypereal-max-tokens"], script.calls[0].json["max_tokens"]) == (str(most), most)
    refused = alice.call(CHAT.path, CHAT.body(max_tokens=most + 1), **STRICT)
    assert (refused.refusal, str(most) in refused.error["message"]) == ((400, "invalid_request"), True)
    asked = alice.call(CHAT.path, CHAT.body(max_tokens=most), **STRICT)
    assert ("x-hypereal-max-tokens" in asked.headers, script.calls[1].json["max_tokens"]) == (False, most)


@EACH
@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
def test_a_prompt_that_its_bytes_make_too_dear_is_counted(
    operator: Operator, add_upstream: AddUpstream, endpoint: Endpoint, is_stream: bool
) -> None:
    body = endpoint.body(PROSE, stream=is_stream, **endpoint.at_most(50))
    by_bytes = bound_of(endpoint, body, output=50)
    bounds = MODELS[endpoint.model]["bounds"]
    counted = tokenizer.count([json.dumps(body)], bounds["tokenizer"]) * Decimal(bounds["tokenizer_factor"])
    script = add_upstream(endpoint, served(endpoint, Tokens(input=int(counted), output=50)))
    alice = operator.person("alice", credits=str((by_bytes * Decimal("0.85")).quantize(Decimal("0.000001"))))
    reply = alice.call(endpoint.path, body)
    assert reply.status == 200
    real = bill(endpoint.model, input=int(counted), output=50)
    assert alice.balance == alice.opening_balance - real > 0
    assert alice.newest_record()["absorbed"] == 0
    assert len(script.calls) == 1
    # It costs less than its bytes say, and yet it has its price.
    poor = operator.person("bob", credits=str((real / 2).quantize(Decimal("0.000001"))))
    assert poor.call(endpoint.path, body).refusal == (402, "insufficient_credits")


def test_an_answer_is_not_cut_short_for_what_its_prompts_bytes_say(
    operator: Operator, add_upstream: AddUpstream
) -> None:
    body = CHAT.body(PROSE, max_tokens=9_000)
    add_upstream(CHAT, served(CHAT, Tokens(input=9_000, output=100)))
    by_bytes = bound_of(CHAT, body, output=5_000)
    alice = operator.person("alice", credits=str(by_bytes))
    reply = alice.call(CHAT.path, body)
    told = int(reply.headers.get("x-hypereal-max-tokens", 9_000))
    assert (reply.status, told) == (200, 9_000)


def test_a_caller_that_leaves_while_it_waits_for_credits_costs_nothing(
    operator: Operator, add_upstream: AddUpstream, set_policy: SetPolicy
) -> None:
    set_policy(CHAT.model, concurrency=10)
    events = CHAT.events(Tokens(input=100, output=10))
    slow, quick = streamed([events[0], events[1], 3.0, *events[2:]]), served(CHAT)
    script = add_upstream(CHAT, lambda received: slow if received.json.get("stream") else quick(received))
    body = CHAT.body(stream=True, max_tokens=1_000)
    alice = short_of(operator, CHAT, body, output=1_000)
    with Connection(alice.server.port) as first:
        first.post(CHAT.path, body, key=alice.key)
        first.receive_until(b"data: ")
        with Connection(alice.server.port) as second:
            second.post(CHAT.path, body, key=alice.key)
            time.sleep(0.5)
        time.sleep(0.5)
        # Its slot is free again though the first call still runs.
        charlie = operator.person("charlie")
        reply = charlie.call(CHAT.path, CHAT.body(max_tokens=10))
        assert reply.headers["x-hypereal-managed-model-concurrency-remaining"] == "8"
        first.receive_until(b"[DONE]")
    eventually(lambda: alice.held == 0)
    assert alice.balance == alice.opening_balance - bill(CHAT.model, input=100, output=10)
    assert [record["status"] for record in alice.records()] == ["succeeded"]
    assert len(script.calls) == 2  # the first of Alice's, and Charlie's


def test_who_waits_in_vain_for_credits_is_told_when_to_come_again(
    operator: Operator, add_upstream: AddUpstream
) -> None:
    events = MESSAGES.events(Tokens(input=100, output=10))
    script = add_upstream(MESSAGES, streamed([*events[:4], 12.0, *events[4:]]))
    body = MESSAGES.body(max_tokens=1_000, stream=True)
    alice = short_of(operator, MESSAGES, body, output=1_000)
    with Connection(alice.server.port) as first:
        first.post(MESSAGES.path, body, key=alice.key)
        first.receive_until(b"data: ")
        began = time.monotonic()
        reply = alice.call(MESSAGES.path, body)
        assert 10 <= time.monotonic() - began < 12
        assert reply.refusal == (429, "credits_reserved")
        assert int(reply.headers["retry-after"]) >= 1
        assert reply.error["type"] == "rate_limit_error"
        first.receive_until(b"message_stop")
    assert len(script.calls) == 1
    eventually(lambda: alice.held == 0)
    assert alice.balance == alice.opening_balance - bill(MESSAGES.model, input=100, output=10)


def test_a_maximum_that_a_translation_raises_is_held_for(operator: Operator, add_upstream: AddUpstream) -> None:
    """Responses takes no maximum below 16: a chat caller's 1 goes out as 16, and all 16 are paid for."""
    script = add_upstream(RESPONSES, served(RESPONSES, Tokens(input=0, output=16)))
    body = CHAT.body(model=RESPONSES.model, max_tokens=1)
    alice = operator.person("alice", credits="1000")
    reply = alice.call(CHAT.path, body)
    assert (reply.status, script.calls[0].json["max_output_tokens"]) == (200, 16)
    explained = operator.run("explain", reply.headers["x-request-id"])
    charged = bill(RESPONSES.model, input=0, output=16)
    assert explained["credits_charged"] == charged <= explained["credits_held"]
    assert explained["credits_held"] == bound_of(RESPONSES, body, output=16)
