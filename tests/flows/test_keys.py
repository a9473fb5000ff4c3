"""Keys: which are taken, what they may do, and how fast a change of theirs is felt."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from apps.keys.rules import make_key
from tests.flows.conftest import AddUpstream, SetPolicy
from tests.flows.endpoints import CHAT, ENDPOINTS, MESSAGES, Endpoint
from tests.flows.rig import Operator, Person, Reply, Server, eventually, http
from tests.flows.upstream import served

FELT_S = 1.0
"""Within this a running server acts on what a command changed."""


def call_with(server: Server, endpoint: Endpoint, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = http.post(f"{server.url}{endpoint.path}", json=endpoint.body(), headers=named)
    return Reply(reply.status_code, reply.headers, reply.content)


def felt(is_felt: Callable[[], bool]) -> None:
    """It is so within a second of what was just changed."""
    eventually(is_felt, timeout_s=FELT_S)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_what_is_no_key_is_refused_alike(server: Server, alice: Person, endpoint: Endpoint) -> None:
    typo = alice.key[:-1] + ("a" if alice.key[-1] != "a" else "b")
    strangers = [
        {},
        {"authorization": "Bearer " + typo},
        {"authorization": "Bearer " + make_key()},
        {"authorization": "Basic YWxpY2U6c2VjcmV0"},
        {"authorization": "Bearer ck_' OR 1=1 --"},
        {"x_api_key": "sk-ant-something"},
        {"x_api_key": alice.key, "authorization": "Bearer " + make_key()},
        {"x_api_key": alice.key, "anthropic_api_key": make_key()},
    ]
    for headers in strangers:
        reply = call_with(server, endpoint, **headers)
        assert reply.refusal == (401, "invalid_api_key"), headers
        assert reply.headers["x-should-retry"] == "false"
        assert reply.headers["request-id"] == reply.headers["x-request-id"]
        if endpoint.is_anthropic:
            assert (reply.json["type"], reply.error["type"]) == ("error", "authentication_error")
        else:
            assert (reply.error["type"], reply.error["param"]) == ("invalid_request_error", None)
    alice.assert_paid_nothing()
    assert alice.records() == []


@pytest.mark.parametrize("endpoint", [CHAT, MESSAGES], ids=lambda endpoint: endpoint.name)
def test_a_key_is_taken_from_any_of_three_headers(server: Server, alice: Person, endpoint: Endpoint) -> None:
    for headers in (
        {"authorization": f"Bearer {alice.key}"},
        {"authorization": f"bearer {alice.key}"},
        {"x_api_key": alice.key},
        {"anthropic_api_key": alice.key},
        {"authorization": f"Bearer {alice.key}", "x_api_key": alice.key},
        {"authorization": f"Bearer {alice.key}", "x_api_key": ""},
    ):
        assert call_with(server, endpoint, **headers).status == 200, headers


def test_one_header_twice_is_ambiguous(server: Server, alice: Person) -> None:
    headers = [("authorization", f"Bearer {alice.key}"), ("authorization", f"Bearer {alice.key}")]
    reply = http.post(f"{server.url}{CHAT.path}", json=CHAT.body(), headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")


def test_a_fresh_key_works_at_once(alice: Person) -> None:
    for _ in range(3):
        assert alice.another_key().call(CHAT.path, CHAT.body()).status == 200


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_a_suspended_key_is_refused_from_the_very_next_call(
    alice: Person, operator: Operator, add_upstream: AddUpstream, endpoint: Endpoint
) -> None:
    script = add_upstream(endpoint, served(endpoint))
    assert alice.call(endpoint.path, endpoint.body()).status == 200
    operator.run("suspend_key", alice.key_id, "--why", "lost laptop")
    refused = alice.call(endpoint.path, endpoint.body())
    assert refused.refusal == (403, "key_suspended")
    assert (refused.error["type"], refused.headers["x-should-retry"]) == ("permission_error", "false")
    operator.tell_server()
    assert alice.call(endpoint.path, endpoint.body()).refusal == (403, "key_suspended")
    assert alice.get("/v1/managed/models").refusal == (403, "key_suspended")
    assert len(script.calls) == 1
    assert alice.another_key().call(endpoint.path, endpoint.body()).status == 200
    operator.run("reinstate_key", alice.key_id, "--why", "found again")
    felt(lambda: alice.call(endpoint.path, endpoint.body()).status == 200)


def test_an_expired_key_is_refused(operator: Operator) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=2)
    alice = operator.person("alice", "--expires", soon.isoformat())
    assert alice.call(CHAT.path, CHAT.body()).status == 200
    time.sleep(max(0.0, (soon - datetime.now(UTC)).total_seconds()))
    assert alice.call(CHAT.path, CHAT.body()).refusal == (403, "key_expired")
    assert alice.call(MESSAGES.path, MESSAGES.body()).error["type"] == "permission_error"


def test_a_key_calls_only_its_models(operator: Operator) -> None:
    alice = operator.person("alice", "--models", "deepseek-v4-pro,gpt-5-5")
    assert alice.call(CHAT.path, CHAT.body(model="gpt-5-5")).status == 200
    refused = alice.call(CHAT.path, CHAT.body(model="qwen3-7-max"))
    assert (refused.refusal, refused.error["param"]) == ((403, "model_not_allowed"), "model")
    unknown = alice.call(CHAT.path, CHAT.body(model="gpt-9"))
    assert (unknown.refusal, unknown.error["param"]) == ((404, "model_not_found"), "model")
    claude = alice.call(MESSAGES.path, MESSAGES.body())
    assert (claude.refusal, claude.error["type"]) == ((403, "model_not_allowed"), "permission_error")


def test_a_model_on_the_wrong_endpoint_names_the_right_one(alice: Person) -> None:
    reply = alice.call(CHAT.path, CHAT.body(model="gpt-image-2"))
    assert (reply.refusal, reply.error["param"]) == ((400, "invalid_request"), "model")
    assert "images" in reply.error["message"]


def test_a_key_may_be_bound_to_networks(operator: Operator) -> None:
    here = operator.person("alice", "--allow-ip", "127.0.0.0/8")
    assert here.call(CHAT.path, CHAT.body()).status == 200
    elsewhere = operator.person("bob", "--allow-ip", "10.0.0.0/8", "--allow-ip", "2001:db8::/32")
    refused = elsewhere.call(CHAT.path, CHAT.body())
    assert refused.refusal == (403, "ip_not_allowed")
    spoofed = elsewhere.call(CHAT.path, CHAT.body(), x_forwarded_for="10.1.2.3", x_real_ip="10.1.2.3")
    assert spoofed.refusal == (403, "ip_not_allowed")
    elsewhere.assert_paid_nothing()


def test_a_frozen_account_is_refused(alice: Person, operator: Operator) -> None:
    operator.run("set_account", alice.account_id, "--status", "frozen")
    assert alice.call(CHAT.path, CHAT.body()).refusal == (403, "account_frozen")
    operator.run("set_account", alice.account_id, "--status", "active")
    felt(lambda: alice.call(CHAT.path, CHAT.body()).status == 200)


def test_what_commands_change_is_felt_within_a_second(alice: Person, operator: Operator, set_policy: SetPolicy) -> None:
    def call() -> Reply:
        return alice.call(CHAT.path, CHAT.body())

    def answers(outcome: object) -> Callable[[], bool]:
        return lambda: call().outcome == outcome

    assert call().status == 200
    operator.run("set_key", alice.key_id, "--models", "gpt-5-5")
    felt(answers("model_not_allowed"))
    operator.run("set_key", alice.key_id, "--models", "none", "--rpm", 1)
    felt(answers("key_rpm"))
    operator.run("set_key", alice.key_id, "--rpm", "none")
    felt(answers("served"))
    operator.run("set_model", CHAT.model, "--disable")
    felt(answers("model_not_found"))
    operator.run("set_model", CHAT.model, "--enable")
    felt(answers("served"))
    set_policy(CHAT.model, concurrency=80)
    operator.run("set_policy", CHAT.model, "--concurrency", 7)
    felt(lambda: call().headers["x-hypereal-managed-model-concurrency-limit"] == "7")


def test_routes_are_felt_within_a_second(alice: Person, operator: Operator, add_upstream: AddUpstream) -> None:
    script = add_upstream(CHAT, served(CHAT))

    def provider() -> str:
        reply = alice.call(CHAT.path, CHAT.body())
        return str(alice.record_of(reply.headers["x-request-id"])["provider"])

    assert provider() == "scripted"
    operator.run("set_route", script.route_id, "--disable")
    felt(lambda: alice.call(CHAT.path, CHAT.body()).outcome == "upstream_overloaded")
    operator.run("set_route", script.route_id, "--enable", "--expose-model")
    felt(lambda: alice.call(CHAT.path, CHAT.body()).status == 200)
    assert alice.call(CHAT.path, CHAT.body()).json["model"] == "theirs"
    operator.run("set_route", script.route_id, "--hide-model")
    operator.tell_server()
    assert alice.call(CHAT.path, CHAT.body()).json["model"] == CHAT.model


def test_no_key_is_stored_or_logged(alice: Person, server: Server) -> None:
    assert alice.call(CHAT.path, CHAT.body("a canary in the prompt")).status == 200
    data_dir = Path(server.environ["HYPEREAL_DATA_DIR"])
    for path in filter(Path.is_file, data_dir.rglob("*")):
        content = path.read_bytes()
        assert alice.key.encode() not in content, path
        assert b"a canary in the prompt" not in content, path


def test_behind_a_trusted_proxy_the_callers_own_address_counts(installation: Server) -> None:
    installation.environ["HYPEREAL_TRUSTED_PROXIES"] = "127.0.0.1"
    installation.start()
    operator = Operator(installation)
    alice = operator.person("alice", "--allow-ip", "10.0.0.0/8")
    for forwarded, status in {
        "10.1.2.3": 200,
        "192.0.2.7, 10.1.2.3": 200,
        "10.1.2.3, 192.0.2.7": 403,  # what the caller wrote itself is not believed
        "192.0.2.7": 403,
        "nonsense": 403,
    }.items():
        assert alice.call(CHAT.path, CHAT.body(), x_forwarded_for=forwarded).status == status, forwarded
    assert alice.call(CHAT.path, CHAT.body()).refusal == (403, "ip_not_allowed")
    operator.close()
