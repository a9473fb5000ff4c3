"""Routes that fail while others serve: callers hardly notice, operators hear of it, and the record tells."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.flows.bills import bill
from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT, MESSAGES, Tokens
from tests.flows.rig import Operator, Person, eventually, http
from tests.flows.upstream import Answer, plain, served

TOKENS = Tokens(input=100, output=10)


@pytest.mark.parametrize("status", [503, 529])
def test_explain_tells_of_every_attempt(alice: Person, add_upstream: AddUpstream, status: int) -> None:
    answers = iter([Answer(status, {"content-length": "2"}, [b"{}"])])
    script = add_upstream(CHAT, lambda received: next(answers, None) or served(CHAT, TOKENS)(received))
    reply = alice.call(CHAT.path, CHAT.body())
    assert reply.status == 200
    attempts = alice.operator.run("explain", reply.headers["x-request-id"])["attempts"]
    told = [(attempt["route"], attempt["status"]) for attempt in attempts]
    assert told == [(script.route_id, str(status)), (script.route_id, "200")]
    assert all(attempt["ms"] >= 0 for attempt in attempts)
    assert alice.balance == 1_000 - bill(CHAT.model, input=100, output=10)


def test_of_two_routes_one_that_fails_is_not_noticed(alice: Person, add_upstream: AddUpstream) -> None:
    failing = add_upstream(CHAT, plain(b"{}", status=500))
    working = add_upstream(CHAT, served(CHAT, TOKENS))
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda _: alice.call(CHAT.path, CHAT.body()), range(200)))
    assert [reply.status for reply in replies] == [200] * 200
    # Its circuit opened after ten failures, plus what was under way.
    assert len(failing.calls) <= 10 + 16 + 2
    assert len(working.calls) == 200
    assert alice.balance == 1_000 - 200 * bill(CHAT.model, input=100, output=10)
    metrics = http.get(f"{alice.server.url}/metrics").text
    assert f'hypereal_upstream_failovers_total{{model="{CHAT.model}"}}' in metrics


def open_alerts(operator: Operator, route_id: str) -> dict[str, Any]:
    """By kind, those of this route."""
    rows = operator.run("alerts")["alerts"]
    return {row["kind"]: row for row in rows if row["subject"] == f"route {route_id}"}


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_operators_are_alerted_and_callers_are_not_blamed(
    alice: Person, operator: Operator, add_upstream: AddUpstream, status: int
) -> None:
    script = add_upstream(MESSAGES, plain(b'{"error": {"message": "invalid x-api-key"}}', status=status))
    for _ in range(3):
        reply = alice.call(MESSAGES.path, MESSAGES.body())
        assert reply.refusal == (502, "upstream_error")
        assert b"api-key" not in reply.body
    alert = eventually(lambda: open_alerts(operator, script.route_id).get("upstream_refuses_us"))
    assert f"{MESSAGES.model} via scripted answers {status}" in alert["message"]
    alice.assert_paid_nothing()


def test_operators_are_alerted_of_an_open_circuit(alice: Person, operator: Operator, add_upstream: AddUpstream) -> None:
    script = add_upstream(MESSAGES, plain(b"{}", status=500))
    eventually(lambda: alice.call(MESSAGES.path, MESSAGES.body()).code == "circuit_open")
    alert = eventually(lambda: open_alerts(operator, script.route_id).get("circuit_open"))
    assert "its circuit is open" in alert["message"]


def test_operators_are_alerted_of_a_missing_credential(operator: Operator, add_upstream: AddUpstream) -> None:
    script = add_upstream(MESSAGES, served(MESSAGES))
    operator.run("set_route", script.route_id, "--credential-env", "NOBODY_SET_THIS")
    operator.tell_server()
    alert = eventually(lambda: open_alerts(operator, script.route_id).get("credential_missing"))
    assert "NOBODY_SET_THIS is not there" in alert["message"]
