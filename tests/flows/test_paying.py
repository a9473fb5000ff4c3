"""Credits under pressure: nobody spends what is not there, nothing is charged twice, nothing stays held."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from tests.flows.bills import bill
from tests.flows.conftest import AddUpstream, SetPolicy
from tests.flows.endpoints import CHAT, ENDPOINTS, IMAGES, MESSAGES, TEXT_ENDPOINTS, Endpoint, Tokens
from tests.flows.rig import CommandFailed, Operator, Person, Reply, eventually
from tests.flows.upstream import served

OVERHEAD_TOKENS = 1_000
"""What the catalog adds to every prompt's bound."""


async def call_all(person: Person, endpoint: Endpoint, bodies: list[dict[str, Any]]) -> list[Reply]:
    """All at once, over as many connections."""
    limits = httpx2.Limits(max_connections=len(bodies))
    async with httpx2.AsyncClient(timeout=60, limits=limits, trust_env=False, verify=False) as client:
        replies = await asyncio.gather(
            *(
                client.post(f"{person.server.url}{endpoint.path}", content=json.dumps(body), headers=person.headers())
                for body in bodies
            )
        )
    return [Reply(reply.status_code, reply.headers, reply.content) for reply in replies]


def bound_of(endpoint: Endpoint, body: dict[str, Any], *, output: int) -> Decimal:
    """The most that a call can cost: two bytes of text are at most one token."""
    input_tokens = -(-len(json.dumps(body)) // 2) + OVERHEAD_TOKENS
    if endpoint is MESSAGES:
        # Any token may be written to the cache, which costs more than reading it afresh.
        return bill(endpoint.model, input=0, output=output, cache_write_5m=input_tokens)
    return bill(endpoint.model, input=input_tokens, output=output)


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("endpoint", TEXT_ENDPOINTS, ids=lambda endpoint: endpoint.name)
async def test_two_hundred_calls_on_credits_for_fifty(
    operator: Operator, add_upstream: AddUpstream, set_policy: SetPolicy, endpoint: Endpoint, is_stream: bool
) -> None:
    set_policy(endpoint.model, concurrency=200)
    body = endpoint.body("Hi", stream=is_stream, **endpoint.at_most(500))
    cost = bound_of(endpoint, body, output=500)
    input_tokens = -(-len(json.dumps(body)) // 2) + OVERHEAD_TOKENS
    # An upstream that uses every token that was held for: as dear as this call can be.
    tokens = Tokens(input=input_tokens, output=500)
    script = add_upstream(endpoint, served(endpoint, tokens))
    real = bill(endpoint.model, input=input_tokens, output=500)
    alice = operator.person("alice", credits=str(cost * 50))
    replies = await call_all(alice, endpoint, [body] * 200)
    outcomes = Counter((reply.status, "ok" if reply.status == 200 else reply.code) for reply in replies)
    served_calls = outcomes.pop((200, "ok"))
    assert 50 <= served_calls <= int(alice.opening_balance / real)
    assert set(outcomes) <= {(402, "insufficient_credits"), (429, "credits_reserved")}
    for reply in replies:
        if reply.status == 402:
            assert "retry-after" not in reply.headers
            assert reply.headers["x-should-retry"] == "false"
        if reply.status != 200 and endpoint.is_anthropic:
            assert (reply.json["type"], reply.json["request_id"]) == ("error", reply.headers["request-id"])
    assert len(script.calls) == served_calls
    assert alice.balance == alice.opening_balance - served_calls * real >= 0
    assert alice.held == 0
    assert operator.run("verify_ledger")["problems"] == []


async def test_calls_that_never_fit_together_take_turns(operator: Operator, add_upstream: AddUpstream) -> None:
    body = CHAT.body(max_tokens=1_000)
    cost, real = bound_of(CHAT, body, output=1_000), bill(CHAT.model, input=10, output=10)
    add_upstream(CHAT, served(CHAT, Tokens(input=10, output=10)))
    alice = operator.person("alice", credits=str(cost + 4 * real))
    replies = await call_all(alice, CHAT, [body] * 5)
    assert [reply.status for reply in replies] == [200] * 5
    assert alice.balance == cost - real
    assert alice.held == 0


def test_charlie_cannot_spend_alices_credits(alice: Person, operator: Operator, add_upstream: AddUpstream) -> None:
    script = add_upstream(CHAT, served(CHAT))
    charlie = operator.person("charlie", credits=0)
    reply = charlie.call(CHAT.path, CHAT.body())
    assert reply.refusal == (402, "insufficient_credits")
    assert script.calls == []
    assert alice.balance == alice.opening_balance


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_too_few_credits_say_what_is_needed_and_what_would_fit(operator: Operator, endpoint: Endpoint) -> None:
    alice = operator.person("alice", credits="0.06")
    body = endpoint.body(**endpoint.at_most(4_000))
    if endpoint is CHAT:
        body["model"] = "qwen3-7-max"
    reply = alice.call(endpoint.path, body)
    assert reply.refusal == (402, "insufficient_credits")
    facts = reply.error["hypereal"]
    assert (facts["limit"], facts["value"], facts["used"], facts["resets_at"]) == (
        "insufficient_credits",
        Decimal("0.06"),
        0,
        None,
    )
    assert facts["needed"] > facts["available"] == Decimal("0.06")
    assert (reply.headers["x-should-retry"], "retry-after" in reply.headers) == ("false", False)
    alice.assert_paid_nothing()
    if endpoint is IMAGES:
        assert "max_tokens" not in facts
        return
    if facts["max_tokens"]:
        again = alice.call(endpoint.path, {**body, **endpoint.at_most(facts["max_tokens"])})
        assert again.status == 200


def test_a_poor_account_gets_a_shorter_answer_and_is_told(operator: Operator, add_upstream: AddUpstream) -> None:
    script = add_upstream(MESSAGES, served(MESSAGES))
    body = MESSAGES.body(max_tokens=60_000)
    wanted = bound_of(MESSAGES, body, output=60_000)
    alice = operator.person("alice", credits=str((wanted / 2).quantize(Decimal(1))))
    reply = alice.call(MESSAGES.path, body)
    assert reply.status == 200
    told = int(reply.headers["x-hypereal-max-tokens"])
    assert 4_096 <= told < 60_000
    assert script.calls[0].json["max_tokens"] == told
    # The most that this grant pays for, and not one token more.
    grant = alice.operator.run("explain", reply.headers["request-id"])["credits_held"]
    assert bound_of(MESSAGES, body, output=told) <= grant < bound_of(MESSAGES, body, output=told + 1)


def test_a_strict_caller_is_refused_instead(operator: Operator, add_upstream: AddUpstream) -> None:
    script = add_upstream(MESSAGES, served(MESSAGES))
    body = MESSAGES.body(max_tokens=60_000)
    wanted = bound_of(MESSAGES, body, output=60_000)
    alice = operator.person("alice", credits=str((wanted / 2).quantize(Decimal(1))))
    reply = alice.call(MESSAGES.path, body, x_hypereal_strict_max_tokens="true")
    assert reply.refusal == (402, "insufficient_credits")
    assert reply.error["hypereal"]["needed"] == wanted
    largest = reply.error["hypereal"]["max_tokens"]
    assert alice.call(MESSAGES.path, {**body, "max_tokens": largest}, x_hypereal_strict_max_tokens="true").status == 200
    assert [call.json["max_tokens"] for call in script.calls] == [largest]


def test_a_rich_account_sends_what_it_was_asked(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(MESSAGES, served(MESSAGES))
    reply = alice.call(MESSAGES.path, MESSAGES.body(max_tokens=5_000))
    assert "x-hypereal-max-tokens" not in reply.headers
    assert script.calls[0].json["max_tokens"] == 5_000


def test_what_exceeds_the_hold_is_paid_by_the_house(operator: Operator, add_upstream: AddUpstream) -> None:
    add_upstream(CHAT, served(CHAT, Tokens(input=100_000, output=50_000)))
    alice = operator.person("alice", credits=1)
    reply = alice.call(CHAT.path, CHAT.body(max_tokens=100))
    cost = bill(CHAT.model, input=100_000, output=50_000)
    assert reply.billing["credits_charged"] == 1
    assert reply.billing["absorbed"] == cost - 1
    assert (alice.balance, alice.held) == (0, 0)
    assert alice.newest_record()["absorbed"] == cost - 1
    kinds = [entry["kind"] for entry in operator.run("explain", reply.headers["request-id"])["entries"]]
    assert kinds == ["charge", "absorbed"]
    assert operator.run("verify_ledger")["problems"] == []


def test_a_top_up_pays_for_the_next_call(operator: Operator) -> None:
    alice = operator.person("alice", credits=0)
    assert alice.call(CHAT.path, CHAT.body()).refusal == (402, "insufficient_credits")
    operator.run("top_up", alice.account_id, 5, "--reference", "invoice 1")
    again = operator.run("top_up", alice.account_id, 5, "--reference", "invoice 1")
    assert (again["repeated"], alice.balance) == (True, 5)
    with pytest.raises(CommandFailed, match="invoice 1"):
        operator.run("top_up", alice.account_id, 6, "--reference", "invoice 1")
    assert alice.call(CHAT.path, CHAT.body()).status == 200


def test_a_refused_call_is_written_down_and_explained(operator: Operator) -> None:
    alice = operator.person("alice", credits=0)
    reply = alice.call(CHAT.path, CHAT.body())
    record = alice.record_of(reply.headers["x-request-id"])
    assert (record["status"], record["http_status"], record["error_code"]) == ("refused", 402, "insufficient_credits")
    assert (record["credits_charged"], record["model"]) == (0, CHAT.model)
    story = operator.run("explain", reply.headers["x-request-id"])
    assert story["refused_by"]["limit"] == "insufficient_credits"
    assert (story["entries"], story["hold"]) == ([], None)


def test_a_client_that_loops_fills_ten_lines_of_the_log(operator: Operator) -> None:
    alice = operator.person("alice", credits=0)
    replies = [alice.call(CHAT.path, CHAT.body()) for _ in range(25)]
    assert {reply.refusal for reply in replies} == {(402, "insufficient_credits")}
    assert eventually(lambda: len(alice.records()) == 10)
    kept = {record["request_id"] for record in alice.records()}
    assert kept == {reply.headers["x-request-id"] for reply in replies[:10]}
    other = alice.another_key()
    assert other.call(CHAT.path, CHAT.body()).status == 402
    assert eventually(lambda: len(alice.records()) == 11)
