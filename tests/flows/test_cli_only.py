"""CLI-only models: the Claude Code CLI works in all its ways, forgeries are blocked and nothing is called or held."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.clients.claude_code import CALLS, MODEL, Install, Sent
from tests.flows.conftest import AddUpstream, own_stores
from tests.flows.endpoints import CHAT, IMAGES, MESSAGES, RESPONSES, Endpoint
from tests.flows.rig import Operator, Person, Reply, Server
from tests.flows.test_keys import felt
from tests.flows.upstream import plain, served

OTHER_SESSION = "11111111-2222-4333-8444-555555555555"
CANARY = "a canary in the prompt"
REFUSED = (403, "cli_only_model")


def violations(person: Person) -> list[Any]:
    """Newest first."""
    found: list[Any] = person.operator.run("list_violations", person.account_id)["violations"]
    return found


def status_of(person: Person) -> str:
    keys = person.operator.run("list_keys", person.account_id)["keys"]
    return str(next(key["status"] for key in keys if key["key_id"] == person.key_id))


def assert_suspended(person: Person, reply: Reply) -> None:
    """By this very call, and for every other model too."""
    assert reply.refusal == REFUSED
    assert (reply.error["type"], reply.headers["x-should-retry"]) == ("permission_error", "false")
    assert status_of(person) == "suspended"
    assert violations(person)[0]["consequence"] == "suspended"
    assert person.call(CHAT.path, CHAT.body()).refusal == (403, "key_suspended")
    person.assert_paid_nothing()


def test_the_cli_works_in_all_its_ways(alice: Person) -> None:
    install = Install()
    for make in CALLS:
        assert alice.send(make(install)).status == 200, make
    for other in (
        replace(install, entrypoint="sdk-cli"),
        replace(install, is_attributed=False, betas=False),
        replace(install, version="2.1.301", api_version="2026-10-21"),
        replace(install, version="1.0.83", writes_old_ids=True, sends_session=False),
    ):
        assert alice.send(other.turn()).status == 200, other
    assert violations(alice) == []
    assert {record["status"] for record in alice.records()} == {"succeeded"}
    assert {record["session_id"] for record in alice.records()} >= {install.session}


def test_a_copied_user_agent_is_a_strike_and_the_third_suspends(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(MESSAGES, served(MESSAGES), model=MODEL)
    body = MESSAGES.body(CANARY, model=MODEL)
    agent = "claude-cli/2.1.197 (external, cli)"
    for strike in (1, 2):
        reply = alice.call(MESSAGES.path, body, user_agent=agent)
        assert reply.refusal == REFUSED
        assert (reply.error["type"], reply.headers["x-should-retry"]) == ("permission_error", "false")
        assert "the header X-App is missing" in reply.error["message"]
        assert f"strike {strike} of 3" in reply.error["message"]
        assert (reply.error["hypereal"]["limit"], reply.error["hypereal"]["used"]) == ("cli_strikes", strike)
        assert status_of(alice) == "active"
    assert_suspended(alice, alice.call(MESSAGES.path, body, user_agent=agent))
    assert script.calls == []
    record = alice.newest_record()
    assert record["status"] == "refused"
    assert [row["strike"] for row in violations(alice)] == [3, 2, 1]
    assert CANARY not in json.dumps(violations(alice))


def test_curl_is_suspended_at_once(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(MESSAGES, served(MESSAGES), model=MODEL)
    reply = alice.call(MESSAGES.path, MESSAGES.body(CANARY, model=MODEL), user_agent="curl/8.9.1")
    assert "its User-Agent is that of curl, not the CLI's" in reply.error["message"]
    assert "ask your operator to lift violation" in reply.error["message"]
    assert_suspended(alice, reply)
    assert script.calls == []
    (violation,) = violations(alice)
    assert (violation["verdict"], violation["evidence"]["user_agent"]) == ("foreign", "curl/8.9.1")
    assert "authorization" in violation["evidence"]["headers"]
    assert CANARY not in json.dumps(violation)
    assert alice.key not in json.dumps(violation)


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES, IMAGES], ids=lambda endpoint: endpoint.name)
def test_an_openai_shaped_path_suspends(alice: Person, endpoint: Endpoint) -> None:
    install = Install()
    sent = Sent(endpoint.path, "", install.headers(), endpoint.body(model=MODEL))
    assert_suspended(alice, alice.send(sent))


def test_an_sdk_with_the_clis_headers_is_told_by_what_it_adds(alice: Person) -> None:
    import anthropic

    headers = Install().headers()
    with (
        alice.anthropic(**{name: headers[name] for name in ("user-agent", "x-app")}) as client,
        pytest.raises(anthropic.PermissionDeniedError, match="X-Stainless-Lang says 'python'"),
    ):
        client.messages.create(model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "Hi"}])
    assert status_of(alice) == "suspended"


FORGERIES: dict[str, Sent] = {
    "another session in the header": Install().turn().but(x_claude_code_session_id=OTHER_SESSION),
    "another entrypoint": Install(entrypoint="sdk-ts").turn(),
    "another version": Install().turn().but(user_agent="claude-cli/2.1.251 (external, cli)"),
    "Hermes": Install().turn().but(user_agent="HermesAgent/0.9"),
    "Hermes by its prompt": Install().turn().saying(system=[{"type": "text", "text": "You are Hermes Agent."}]),
    "OpenClaw": Install().turn().but(user_agent="openclaw/2026.11.1"),
    "opencode": Install().turn().but(user_agent="opencode/1.18.33"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_suspends(alice: Person, name: str) -> None:
    assert_suspended(alice, alice.send(FORGERIES[name]))


def test_a_pool_of_four_devices_on_one_key_is_struck(alice: Person) -> None:
    pool = [Install() for _ in range(4)]
    assert [alice.send(install.turn()).status for install in pool] == [200, 200, 200, 403]
    assert alice.send(pool[0].turn()).status == 200
    replies = [alice.send(pool[3].turn()) for _ in range(2)]
    assert "more than 3 devices" in replies[0].error["message"]
    assert [row["signs"] for row in violations(alice)] == [["devices"]] * 3
    assert status_of(alice) == "suspended"


def test_a_device_belongs_to_one_account(alice: Person, charlie: Person) -> None:
    install = Install()
    assert alice.send(install.turn()).status == 200
    reply = charlie.send(replace(install, session=OTHER_SESSION).turn())
    assert reply.refusal == REFUSED
    assert "under another account" in reply.error["message"]
    assert alice.send(install.turn()).status == 200
    assert (status_of(alice), status_of(charlie)) == ("active", "active")


def test_a_session_is_not_replayed_on_another_device_or_key(alice: Person) -> None:
    install = Install()
    assert alice.send(install.turn()).status == 200
    elsewhere = alice.send(replace(Install(), session=install.session).turn())
    assert "on another device before" in elsewhere.error["message"]
    another = alice.another_key()
    assert "with another API key before" in another.send(install.turn()).error["message"]
    assert alice.send(install.turn()).status == 200


def test_an_account_may_choose_to_be_blocked_only(alice: Person, operator: Operator) -> None:
    operator.run("set_account", alice.account_id, "--cli-violation", "block")
    operator.tell_server()
    for _ in range(4):
        reply = alice.call(MESSAGES.path, MESSAGES.body(model=MODEL), user_agent="curl/8")
        assert reply.refusal == REFUSED
        assert "suspended" not in reply.error["message"]
    assert alice.call(CHAT.path, CHAT.body()).status == 200
    (only,) = violations(alice)  # a client that loops is written down once
    assert only["consequence"] == "blocked"
    operator.run("set_account", alice.account_id, "--cli-violation", "suspend")
    operator.tell_server()
    alice.call(MESSAGES.path, MESSAGES.body(model=MODEL), user_agent="curl/8")
    assert status_of(alice) == "suspended"


def test_a_dry_run_serves_and_records(alice: Person, operator: Operator) -> None:
    model = "claude-haiku-4-5-max"
    operator.run("set_model", model, "--cli-enforcement", "record")
    operator.tell_server()
    try:
        for _ in range(2):
            assert alice.call(MESSAGES.path, MESSAGES.body(model=model), user_agent="curl/8").status == 200
        assert alice.call(CHAT.path, CHAT.body(model=model), user_agent="curl/8").status == 200
        assert [(row["consequence"], row["dry_run"]) for row in violations(alice)] == [("recorded", True)] * 2
    finally:
        operator.run("set_model", model, "--cli-enforcement", "enforce")
        operator.tell_server()
    assert alice.call(MESSAGES.path, MESSAGES.body(model=model), user_agent="curl/8").refusal == REFUSED


def test_the_operator_may_allow_an_entrypoint(alice: Person, operator: Operator) -> None:
    model = "claude-sonnet-4-5-max"
    install = Install(entrypoint="claude-vscode")
    operator.run("set_model", model, "--cli-entrypoints", "claude-vscode,sdk-ts")
    operator.tell_server()
    try:
        assert alice.send(install.turn(model=model)).status == 200
    finally:
        operator.run("set_model", model, "--cli-entrypoints", "none")
        operator.tell_server()
    assert alice.send(install.turn(model=model)).refusal == REFUSED


def test_counting_never_counts(alice: Person, add_upstream: AddUpstream) -> None:
    """Whoever asks gets a number; the upstream is asked for the CLI alone."""

    script = add_upstream(MESSAGES, plain(b'{"input_tokens": 77}'), model=MODEL)
    install = Install()
    assert [alice.send(install.count()).json["input_tokens"] for _ in range(3)] == [77] * 3
    for agent in ("curl/8", "openclaw/1.0"):
        reply = alice.call("/v1/messages/count_tokens", install.count().body, user_agent=agent)
        assert (reply.status, reply.json["hypereal"]) == (200, {"estimated": True})
    assert len(script.calls) == 3
    assert alice.get("/v1/models", user_agent="curl/8", anthropic_version="2023-06-01").status == 200
    assert (violations(alice), status_of(alice)) == ([], "active")


def test_who_may_not_call_the_model_is_not_judged(operator: Operator) -> None:
    scoped = operator.person("alice", "--models", "gpt-5-5")
    refused = scoped.call(MESSAGES.path, MESSAGES.body(model=MODEL), user_agent="curl/8")
    assert refused.refusal == (403, "model_not_allowed")
    assert violations(scoped) == []


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server, Operator]]:
    """Two processes of one installation, and an operator."""
    with own_stores("two") as stores:
        if not stores:
            pytest.skip("the embedded default is one process")
        data_dir = tmp_path_factory.mktemp("two") / "data"
        here, there = Server(data_dir, stores), Server(data_dir, stores)
        here.start()
        there.start()
        operator = Operator(here)
        yield here, there, operator
        operator.close()
        here.stop()
        there.stop()


def test_a_suspension_is_felt_by_the_next_call_on_every_process(processes: tuple[Server, Server, Operator]) -> None:
    _, there, operator = processes
    alice = operator.person("alice")
    over_there = replace(alice, server=there)
    install = Install()
    for person in (alice, over_there):
        assert person.send(install.turn()).status == 200
    alice.call(MESSAGES.path, MESSAGES.body(model=MODEL), user_agent="curl/8")
    assert over_there.send(install.turn()).refusal == (403, "key_suspended")
    assert over_there.call(CHAT.path, CHAT.body()).refusal == (403, "key_suspended")
    assert alice.send(install.turn()).refusal == (403, "key_suspended")
    (violation,) = violations(alice)
    operator.run("lift_violation", violation["violation_id"], "--why", "a test of ours")
    for person in (alice, over_there):
        felt(lambda person=person: person.send(install.turn()).status == 200)  # type: ignore[misc]


def test_strikes_on_two_processes_are_one_count(processes: tuple[Server, Server, Operator]) -> None:
    _, there, operator = processes
    alice = operator.person("alice")
    over_there = replace(alice, server=there)
    sent = Install().turn().but(without=("x-app",))
    for strike, person in enumerate((alice, over_there), start=1):
        assert f"strike {strike} of 3" in person.send(sent).error["message"]
    assert "now suspended" in alice.send(sent).error["message"]
    assert over_there.send(Install().turn()).refusal == (403, "key_suspended")


def test_sightings_on_two_processes_are_one_memory(processes: tuple[Server, Server, Operator]) -> None:
    _, there, operator = processes
    alice, charlie = operator.person("alice"), operator.person("charlie")
    install = Install()
    assert alice.send(install.turn()).status == 200
    assert replace(charlie, server=there).send(install.turn()).refusal == REFUSED
