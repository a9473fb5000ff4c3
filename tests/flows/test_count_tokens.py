"""Counting tokens: the upstream's count where it has one, ours and marked where it has none; free in every case."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.flows.conftest import AddUpstream, SetPolicy
from tests.flows.endpoints import CHAT, MESSAGES
from tests.flows.rig import Operator, Person, Reply, Server, http
from tests.flows.upstream import plain

PATHS = ("/v1/messages/count_tokens", "/v1/managed/messages/count_tokens")
QUESTION = {"messages": [{"role": "user", "content": "How many tokens are these nine words of mine?"}]}


def count(person: Person, path: str = PATHS[0], *, model: str = MESSAGES.model, **fields: Any) -> Reply:
    return person.call(path, {"model": model, **QUESTION, **fields}, anthropic_version="2023-06-01")


@pytest.mark.parametrize("path", PATHS)
def test_the_upstream_is_asked_where_it_speaks_messages(alice: Person, add_upstream: AddUpstream, path: str) -> None:
    script = add_upstream(
        MESSAGES, plain(b'{"input_tokens": 4242, "context_management": {"original_input_tokens": 5}}')
    )
    reply = count(alice, path, system="Be brief.", thinking={"type": "adaptive"})
    assert (reply.status, reply.json) == (
        200,
        {"input_tokens": 4_242, "context_management": {"original_input_tokens": 5}},
    )
    (call,) = script.calls
    assert call.path == "/v1/messages/count_tokens"
    assert call.json == {"model": "theirs", **QUESTION, "system": "Be brief.", "thinking": {"type": "adaptive"}}
    assert "authorization" not in call.headers
    assert alice.key not in str(call.headers)


def test_betas_reach_the_upstream_that_counts(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(MESSAGES, plain(b'{"input_tokens": 7}'))
    body = {"model": MESSAGES.model, **QUESTION}
    alice.call(f"{PATHS[0]}?beta=true", body, anthropic_beta="token-counting-2024-11-01")
    assert script.calls[0].headers["anthropic-beta"] == "token-counting-2024-11-01"


def test_the_official_sdk_counts(alice: Person, add_upstream: AddUpstream) -> None:
    add_upstream(MESSAGES, plain(b'{"input_tokens": 4242}'))
    with alice.anthropic() as client:
        counted = client.messages.count_tokens(model=MESSAGES.model, messages=[{"role": "user", "content": "Hi"}])
    assert counted.input_tokens == 4_242


@pytest.mark.parametrize("status", [401, 404, 405, 429, 500, 529])
def test_an_upstream_that_has_no_count_is_replaced_by_an_estimate(
    alice: Person, add_upstream: AddUpstream, status: int
) -> None:
    add_upstream(MESSAGES, plain(b'{"type":"error","error":{"type":"x","message":"no"}}', status=status))
    reply = count(alice)
    assert (reply.status, reply.json["hypereal"]) == (200, {"estimated": True})
    assert 9 <= reply.json["input_tokens"] <= 20


def test_an_upstream_that_answers_nonsense_is_replaced_too(alice: Person, add_upstream: AddUpstream) -> None:
    add_upstream(MESSAGES, plain(b'{"tokens": "many"}'))
    assert count(alice).json["hypereal"] == {"estimated": True}


def test_a_mistake_that_the_upstream_finds_is_the_callers(alice: Person, add_upstream: AddUpstream) -> None:
    refusal = {"type": "error", "error": {"type": "invalid_request_error", "message": "messages: roles must alternate"}}
    add_upstream(MESSAGES, plain(json.dumps(refusal).encode(), status=400))
    reply = count(alice)
    assert reply.refusal == (400, "invalid_request")
    assert (reply.json["type"], reply.error["message"]) == ("error", "messages: roles must alternate")


def test_a_model_behind_another_dialect_is_estimated(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(CHAT, plain(b"{}"))
    reply = count(alice, model=CHAT.model)
    assert (reply.status, reply.json["hypereal"]) == (200, {"estimated": True})
    assert script.calls == []


def test_the_simulator_counts_what_it_would_bill(alice: Person) -> None:
    counted = count(alice).json
    assert "hypereal" not in counted
    reply = alice.call(MESSAGES.path, {"model": MESSAGES.model, "max_tokens": 50, **QUESTION})
    assert reply.json["usage"]["input_tokens"] == counted["input_tokens"]


def test_counting_is_free_unlogged_and_outside_of_every_rate(operator: Operator, set_policy: SetPolicy) -> None:
    set_policy(MESSAGES.model, rpm=1)
    alice = operator.person("alice", "--rpm", 1, credits=0)
    with ThreadPoolExecutor(14) as pool:
        replies = list(pool.map(lambda _: count(alice), range(14)))
    assert {reply.status for reply in replies} == {200}
    assert alice.records() == []
    assert (alice.balance, alice.held) == (0, 0)


def test_a_key_that_counts_without_end_is_stopped(operator: Operator) -> None:
    alice = operator.person("alice")
    with ThreadPoolExecutor(8) as pool:
        statuses = [reply.status for reply in pool.map(lambda _: count(alice, model=CHAT.model), range(620))]
    assert statuses.count(429) == 20
    refused = count(alice)
    assert refused.refusal == (429, "key_rpm")
    assert 1 <= int(refused.headers["retry-after"]) <= 61


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"model": "nothing"}, "model_not_found"),
        ({"messages": "Hi"}, "invalid_request"),
        ({"container": "cntr_1"}, "not_found"),
        ({"mcp_servers": [{"url": "https://x"}]}, "unsupported_field"),
    ],
)
def test_what_no_call_may_say_no_count_may(alice: Person, fields: dict[str, Any], field: str) -> None:
    assert alice.call(PATHS[0], {"model": MESSAGES.model, **QUESTION, **fields}).code == field


def test_a_key_counts_for_its_own_models_only(operator: Operator) -> None:
    alice = operator.person("alice", "--models", CHAT.model)
    assert count(alice).refusal == (403, "model_not_allowed")


@pytest.mark.parametrize("path", PATHS)
def test_counting_needs_a_key_and_post(server: Server, alice: Person, path: str) -> None:
    reply = http.post(f"{server.url}{path}", json={})
    assert (reply.status_code, reply.json()["error"]["type"]) == (401, "authentication_error")
    assert alice.get(path).status == 405
